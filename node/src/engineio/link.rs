//! One session's transports: requests, WebSockets and the timer go to the session machine, and what
//! it wants is carried out. To its user a session is messages that come, and an outbox.

use std::collections::VecDeque;
use std::fmt;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::StreamExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use proto::cluster::visit::Visited;
use proto::door::Close;
use proto::engineio::{
    Action, Ended, Engine, Frame, Input, Message, PACKETS_PER_ANSWER, Packet, Refusal, Timing,
    from_frames,
};
use proto::websocket::{binary_frame, text_frame};
use proto::wire::Wire;
use tokio::time::{Sleep, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message as Received};

use crate::clock::Clock;
use crate::outbox::{Outbox, Writer};
use crate::places::Place;
use crate::reader;
use crate::socket::Socket;

use super::knock::{Knock, Reply};
use super::{Sessions, Terms, limits};

/// How long a polling client may take to fetch the last that it is sent.
const FAREWELL: Duration = Duration::from_secs(3);

type Reading = Pin<Box<dyn Future<Output = Result<Bytes, Visited>> + Send>>;
type Stream = Box<WebSocketStream<Socket>>;

/// A session as its user sees it. Its outbox has to be driven too, with [`Outbox::poll_signal`].
pub struct Link {
    clock: Clock,
    engine: Engine,
    max_payload: usize,
    outbox: Arc<Outbox>,
    /// Where requests come from; none if it began on a WebSocket.
    place: Option<Place<Knock>>,
    socket: Option<Stream>,
    /// The WebSocket that may become the transport.
    probe: Option<(Stream, Arc<Outbox>)>,
    /// A GET that waits.
    poll: Option<Reply>,
    /// A POST whose body is being read.
    post: Option<(Reading, Reply)>,
    /// Messages that came and were not taken yet: those of one payload at most.
    inbox: VecDeque<Message>,
    timer: Pin<Box<Sleep>>,
    ended: Option<Ended>,
}

/// What a session waits for.
enum Event {
    Frame(Option<Result<Received, Error>>),
    Probe(Option<Result<Received, Error>>),
    Body(Result<Bytes, Visited>),
    Knock(Knock),
    Unpolled,
    Sendable,
    Timer,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Link {
    /// Begins a session with polling, and says what its first GET is answered.
    pub(super) fn polling(
        sessions: &Sessions,
        terms: &Terms<'_>,
    ) -> Result<(Self, String), Refusal> {
        let limits = limits(terms);
        let max = usize::try_from(limits.connections).unwrap_or(usize::MAX);
        let place = sessions.begin(&terms.app.id, max).ok_or(Refusal::Forbidden)?;
        let engine = Engine::polling(terms.timing, terms.clock.now());
        let greeting = engine.greeting(&place.id);
        let outbox = Arc::new(Outbox::new(Writer::Held, Wire::SocketIo, &limits));
        let link = Self::new((terms.clock, terms.timing), engine, outbox);
        Ok((Self { place: Some(place), ..link }, greeting))
    }

    /// Begins a session on a WebSocket, and greets.
    pub(super) fn websocket(
        (clock, timing): (Clock, Timing),
        sid: &str,
        stream: WebSocketStream<Socket>,
        outbox: Arc<Outbox>,
    ) -> Self {
        let engine = Engine::websocket(timing, clock.now());
        // The outbox is new and empty: it takes it.
        let _ = outbox.send(text_frame(&engine.greeting(sid)));
        let link = Self::new((clock, timing), engine, outbox);
        Self { socket: Some(Box::new(stream)), ..link }
    }

    fn new((clock, timing): (Clock, Timing), engine: Engine, outbox: Arc<Outbox>) -> Self {
        let timer = Box::pin(sleep_until(clock.instant(engine.deadline())));
        Self {
            clock,
            engine,
            max_payload: timing.max_payload,
            outbox,
            place: None,
            socket: None,
            probe: None,
            poll: None,
            post: None,
            inbox: VecDeque::new(),
            timer,
            ended: None,
        }
    }

    /// Where what is sent waits: encoded WebSocket frames of Engine.IO packets, whatever the
    /// transport is.
    #[must_use]
    pub const fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Sends a text message. An outbox that is full ends the session by itself.
    pub fn send_text(&self, text: &str) {
        send_packet(&self.outbox, &Packet::Text(text));
    }

    /// Sends a binary message. An outbox that is full ends the session by itself.
    pub fn send_binary(&self, bytes: &[u8]) {
        let _ = self.outbox.send(binary_frame(bytes));
    }

    /// The client has said who it is: its payloads may have many packets.
    pub const fn trust(&mut self) {
        self.engine.trust();
    }

    /// Waits for the next message. It may be dropped and called again without losing one.
    ///
    /// # Errors
    /// Why the session is over, now and from then on.
    pub async fn next(&mut self) -> Result<Message, Ended> {
        loop {
            if let Some(message) = self.inbox.pop_front() {
                if self.inbox.is_empty() {
                    // An idle session keeps no buffer.
                    self.inbox = VecDeque::new();
                }
                return Ok(message);
            }
            if let Some(ended) = self.ended {
                return Err(ended);
            }
            let event = self.event().await;
            self.take(event);
        }
    }

    /// Ends the session: what waits is sent, and then the client is told.
    pub async fn part(&mut self) {
        self.outbox.close(&Close { code: 1000, reason: "".into() });
        if let Some((stream, outbox)) = self.probe.take() {
            dismiss(stream, outbox);
        }
        if let Some(mut stream) = self.socket.take() {
            return reader::part(&mut stream, &self.outbox).await;
        }
        if self.ended.is_none() && self.poll.is_none() {
            // A client that polls comes back soon.
            let _ = timeout(FAREWELL, self.last_poll()).await;
        }
        self.answer_poll(usize::MAX);
    }

    async fn last_poll(&mut self) {
        let Some(place) = &mut self.place else { return };
        while let Some(knock) = place.knocks.recv().await {
            match knock {
                Knock::Poll(reply) => return self.poll = Some(reply),
                Knock::Post(_, reply) | Knock::Release(reply) => {
                    refuse(reply, Refusal::BadRequest);
                }
                Knock::Socket(stream, outbox) => dismiss(stream, outbox),
            }
        }
    }

    /// In the order of this list, so that a WebSocket's messages count before later requests.
    async fn event(&mut self) -> Event {
        let deadline = self.clock.instant(self.engine.deadline());
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        let Self { outbox, place, socket, probe, poll, post, timer, .. } = self;
        let is_polled = poll.is_some();
        tokio::select! {
            biased;
            frame = read(socket.as_mut()) => Event::Frame(frame),
            frame = read_probe(probe.as_mut()) => Event::Probe(frame),
            body = read_body(post.as_mut()) => Event::Body(body),
            Some(knock) = knocked(place.as_mut()) => Event::Knock(knock),
            () = left(poll.as_mut()) => Event::Unpolled,
            () = poll_fn(|context| outbox.poll_held(context)), if is_polled => Event::Sendable,
            () = timer.as_mut() => Event::Timer,
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Frame(Some(Ok(Received::Text(text)))) => {
                self.tell(Input::Frame(Frame::Text(text.as_str())));
            }
            Event::Frame(Some(Ok(Received::Binary(bytes)))) => {
                self.tell(Input::Frame(Frame::Binary(&bytes)));
            }
            Event::Probe(Some(Ok(Received::Text(text)))) => {
                self.tell(Input::Probe(Frame::Text(text.as_str())));
            }
            Event::Probe(Some(Ok(Received::Binary(bytes)))) => {
                self.tell(Input::Probe(Frame::Binary(&bytes)));
            }
            // The reader answers pings by itself, and the heartbeat is Engine.IO's own.
            Event::Frame(Some(Ok(Received::Ping(_) | Received::Pong(_))))
            | Event::Probe(Some(Ok(Received::Ping(_) | Received::Pong(_)))) => {}
            Event::Frame(_) | Event::Unpolled => self.tell(Input::Lost),
            Event::Probe(_) => self.tell(Input::ProbeLost),
            Event::Body(body) => self.posted(body),
            Event::Knock(knock) => self.knocked(knock),
            Event::Sendable => {
                self.answer_poll(PACKETS_PER_ANSWER);
                self.tell(Input::Polled);
            }
            Event::Timer => self.tell(Input::Timer),
        }
    }

    /// Tells the machine what happened, where nobody waits for an answer.
    fn tell(&mut self, input: Input<'_>) {
        let (_, actions) = self.apply(input);
        self.carry_out(actions);
    }

    fn apply(&mut self, input: Input<'_>) -> (Result<(), Refusal>, Vec<Action>) {
        let mut actions = Vec::new();
        let outcome = self.engine.apply(input, self.clock.now(), &mut actions);
        (outcome, actions)
    }

    fn knocked(&mut self, knock: Knock) {
        let input = match &knock {
            Knock::Poll(_) => Input::Poll,
            Knock::Release(_) => Input::Release,
            Knock::Post(..) => Input::Post,
            Knock::Socket(..) => Input::Socket,
        };
        let (outcome, actions) = self.apply(input);
        match (knock, outcome) {
            (Knock::Poll(reply), Ok(())) => self.poll = Some(reply),
            // Who asked may have gone meanwhile, which is noticed elsewhere.
            (Knock::Release(reply), Ok(())) => drop(reply.send(Visited::Taken)),
            (Knock::Post(body, reply), Ok(())) => {
                self.post = Some((Box::pin(read_all(body, self.max_payload)), reply));
            }
            (Knock::Socket(stream, outbox), Ok(())) => self.probe = Some((stream, outbox)),
            (Knock::Poll(reply) | Knock::Release(reply) | Knock::Post(_, reply), Err(refusal)) => {
                refuse(reply, refusal);
            }
            (Knock::Socket(stream, outbox), Err(_)) => dismiss(stream, outbox),
        }
        self.carry_out(actions);
    }

    fn posted(&mut self, body: Result<Bytes, Visited>) {
        let Some((_, reply)) = self.post.take() else { return };
        let (answer, actions) = match body {
            Ok(body) => {
                let (outcome, actions) = self.apply(Input::Posted(&body));
                (outcome.map_or_else(Visited::Refused, |()| Visited::Taken), actions)
            }
            Err(answer) => (answer, self.apply(Input::Lost).1),
        };
        // The client may have gone meanwhile, which is noticed elsewhere.
        let _ = reply.send(answer);
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(packet) => send_packet(&self.outbox, &packet),
                Action::SendProbe(packet) => {
                    if let Some((_, outbox)) = &self.probe {
                        send_packet(outbox, &packet);
                    }
                }
                Action::Deliver(message) => self.inbox.push_back(message),
                Action::Release => self.reply_to_poll(Packet::Noop.to_text()),
                Action::Switch => self.switch(),
                Action::DropProbe => {
                    if let Some((stream, outbox)) = self.probe.take() {
                        dismiss(stream, outbox);
                    }
                }
                Action::End(why) => self.ended = Some(why),
            }
        }
    }

    fn switch(&mut self) {
        let Some((mut stream, outbox)) = self.probe.take() else { return };
        outbox.hand_over(&self.outbox);
        stream.get_mut().adopt(Arc::clone(&self.outbox));
        self.socket = Some(stream);
    }

    /// Answers the waiting GET with what waits in the outbox, so many frames at most.
    fn answer_poll(&mut self, frames_max: usize) {
        if self.poll.is_some() {
            let frames = self.outbox.take(frames_max);
            self.reply_to_poll(from_frames(frames.iter().map(|frame| &frame[..])));
        }
    }

    fn reply_to_poll(&mut self, payload: String) {
        if let Some(reply) = self.poll.take()
            && reply.send(Visited::Payload(payload)).is_err()
        {
            self.tell(Input::Lost);
        }
    }
}

async fn read(stream: Option<&mut Stream>) -> Option<Result<Received, Error>> {
    match stream {
        Some(stream) => stream.next().await,
        None => pending().await,
    }
}

async fn read_probe(probe: Option<&mut (Stream, Arc<Outbox>)>) -> Option<Result<Received, Error>> {
    let Some((stream, outbox)) = probe else { return pending().await };
    tokio::select! {
        message = stream.next() => message,
        // It only writes what waits; an outbox that has something to say is over.
        _ = poll_fn(|context| outbox.poll_signal(context)) => None,
    }
}

async fn read_body(post: Option<&mut (Reading, Reply)>) -> Result<Bytes, Visited> {
    match post {
        Some((reading, _)) => reading.await,
        None => pending().await,
    }
}

async fn knocked(place: Option<&mut Place<Knock>>) -> Option<Knock> {
    place?.knocks.recv().await
}

async fn left(poll: Option<&mut Reply>) {
    match poll {
        Some(reply) => reply.closed().await,
        None => pending().await,
    }
}

pub(super) async fn read_all(body: Body, max: usize) -> Result<Bytes, Visited> {
    match Limited::new(body, max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Visited::TooLarge),
        Err(_) => Err(Visited::Refused(Refusal::BadRequest)),
    }
}

/// An outbox that is full closes by itself, which its user hears of.
fn send_packet(outbox: &Outbox, packet: &Packet<'_>) {
    let _ = outbox.send(text_frame(&packet.to_text()));
}

fn refuse(reply: Reply, refusal: Refusal) {
    // The client may have gone meanwhile: nobody waits then.
    let _ = reply.send(Visited::Refused(refusal));
}

/// Closes a WebSocket that is not the session's transport, politely and aside.
pub(super) fn dismiss(mut stream: Stream, outbox: Arc<Outbox>) {
    outbox.close(&Close { code: 1000, reason: "".into() });
    tokio::spawn(async move { reader::part(&mut stream, &outbox).await });
}
