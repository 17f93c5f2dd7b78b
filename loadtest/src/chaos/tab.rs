//! A browser's tab: a Pusher client that stays subscribed, comes back when it was closed, and reports
//! everything that it is told.

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::SyncSender;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use proto::pusher::auth::subscription;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::observation::{Channel, Closed, Connection, Node, Observation, Subscribed};
use super::plan::{self, Tab};
use super::schedule::Draw;
use super::stage::Stage;
use crate::client::Opening;
use crate::dialect::Dialect;
use crate::door::Door;
use crate::frame::{CLOSE, Frame, TEXT, masked};
use crate::mark::Mark;
use crate::subscriber::{Subscriber, answer};

mod asks;

use asks::Asks;

/// How long a node may take for one step of an opening.
const STEP_MAX: Duration = Duration::from_secs(2);
/// How long a tab reads before it looks up.
const READ_MAX: Duration = Duration::from_millis(50);
/// How long a tab waits after a connect that failed.
const RETRY: Duration = Duration::from_millis(50);
/// More than any frame of the load.
const BUFFER_BYTES: usize = 64 * 1024;

/// What a server says.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// Runs a tab until the run is over.
pub(super) fn run(tab: &Tab, stage: &Arc<Stage>, out: &SyncSender<Observation>) {
    let mut draw = Draw::new(tab.number as u64);
    for life in 0_u64.. {
        if stage.is_over() {
            return;
        }
        let homing = stage.homing();
        let opened = stage.route(tab.home).map(|node| {
            let connection = (tab.number as u64) << 32 | life;
            Live::open((tab, stage, out), node, connection)
        });
        match opened {
            Some(Ok(mut live)) => live.follow(&mut draw, homing),
            Some(Err(_)) | None => sleep(RETRY),
        }
    }
}

/// A tab while it is connected.
struct Live<'a> {
    tab: &'a Tab,
    stage: &'a Stage,
    out: &'a SyncSender<Observation>,
    node: Node,
    connection: Connection,
    socket_id: String,
    socket: Subscriber,
    /// Whether it is subscribed, or asked to be.
    is_subscribed: bool,
    asks: Asks,
    code: Option<u16>,
}

impl<'a> Live<'a> {
    fn open(
        (tab, stage, out): (&'a Tab, &'a Stage, &'a SyncSender<Observation>),
        node: Node,
        connection: Connection,
    ) -> anyhow::Result<Self> {
        let mut opening = Opening::connect(plan::clients(node), None, STEP_MAX)?;
        let dialect = Dialect::Pusher(stage.app.clone(), Door::Pusher);
        opening.send(dialect.opening("").as_bytes())?;
        opening.switched()?;
        let hello: Value = serde_json::from_str(&opening.text("connection_established")?)?;
        let data: Value = serde_json::from_str(hello["data"].as_str().context("no data")?)?;
        let socket_id = data["socket_id"].as_str().context("no socket id")?.to_owned();
        let (stream, rest) = opening.into_parts();
        stream.set_read_timeout(Some(READ_MAX))?;
        stream.set_write_timeout(Some(STEP_MAX))?;
        let socket = Subscriber::resume(stream, rest);
        out.send(Observation::Opened(connection, node))?;
        Ok(Self {
            tab,
            stage,
            out,
            node,
            connection,
            socket_id,
            socket,
            is_subscribed: false,
            asks: Asks::default(),
            code: None,
        })
    }

    /// Stays until the server, the director or the end of the run closes it.
    fn follow(&mut self, draw: &mut Draw, homing: u32) {
        let is_ours = self.live(draw, homing).is_ok_and(|is_ours| is_ours);
        let Self { connection, code, .. } = *self;
        let closed = Closed { connection, code, at: self.stage.now(), is_ours };
        // Nobody listens any more only when the run is over.
        let _ = self.out.send(Observation::Closed(closed));
    }

    /// True if it was the client who ended it.
    fn live(&mut self, draw: &mut Draw, homing: u32) -> anyhow::Result<bool> {
        let mut buffer = vec![0; BUFFER_BYTES];
        self.subscribe()?;
        let mut next_change = Instant::now() + draw.time(300, 900);
        loop {
            let is_away = self.node != self.tab.home && self.stage.is_ready(self.tab.home);
            if self.stage.is_over() || is_away && self.stage.homing() != homing {
                return Ok(true);
            }
            for channel in self.asks.due(self.stage.now()) {
                self.ask(channel)?;
            }
            let now = Instant::now();
            let is_churning = self.stage.is_churning.load(SeqCst);
            if self.tab.is_churner && is_churning && now >= next_change {
                next_change = now + draw.time(300, 900);
                let now = self.stage.now();
                if self.is_subscribed {
                    self.unsubscribe()?;
                } else if self.tab.channels.iter().all(|&c| self.asks.may_ask(c, now)) {
                    self.subscribe()?;
                }
            }
            let Self { socket, .. } = self;
            let mut heard = Vec::new();
            let open = socket.receive_frames(&mut buffer, |stream, frame| {
                if frame.opcode == TEXT {
                    answer(stream, frame.payload)?;
                }
                heard.push(Heard::read(self.stage, frame)?);
                Ok(())
            })?;
            for heard in heard {
                self.report(heard)?;
            }
            if !open {
                return Ok(false);
            }
        }
    }

    fn report(&mut self, heard: Heard) -> anyhow::Result<()> {
        let (connection, at) = (self.connection, self.stage.now());
        let observation = match heard {
            Heard::Nothing => return Ok(()),
            Heard::Event(channel, mark) => Observation::Received(connection, channel, mark, at),
            Heard::Subscribed(channel, _) if !self.asks.admitted(channel) => return Ok(()),
            Heard::Subscribed(channel, members) => {
                let user: Arc<str> = self.tab.user.as_str().into();
                let presence = members.map(|members| (user, members));
                Observation::Subscribed(Subscribed { connection, channel, presence, at })
            }
            Heard::Member(channel, user, is_added) => {
                Observation::Member(connection, channel, user, is_added)
            }
            Heard::Refused(channel, why) => {
                self.asks.refused(channel, at);
                Observation::Refused(why)
            }
            Heard::Close(code) => {
                self.code = code;
                return Ok(());
            }
        };
        Ok(self.out.send(observation)?)
    }

    fn subscribe(&mut self) -> anyhow::Result<()> {
        self.is_subscribed = true;
        let tab = self.tab;
        tab.channels.iter().try_for_each(|&channel| self.ask(channel))
    }

    fn unsubscribe(&mut self) -> anyhow::Result<()> {
        self.is_subscribed = false;
        let tab = self.tab;
        for &channel in &tab.channels {
            self.asks.leave(channel);
            let left = Observation::Left(self.connection, channel, self.stage.now());
            self.out.send(left)?;
            let data = json!({ "channel": self.stage.plan.name(channel) });
            self.say(&json!({ "event": "pusher:unsubscribe", "data": data }))?;
        }
        Ok(())
    }

    fn ask(&mut self, channel: Channel) -> anyhow::Result<()> {
        self.asks.ask(channel, self.stage.now());
        let Stage { plan, app, .. } = self.stage;
        let name = plan.name(channel);
        let mut data = json!({ "channel": name });
        if plan.presence.contains(&channel) {
            let user = json!({ "user_id": self.tab.user }).to_string();
            let key = (app.key.as_str(), &app.secret);
            data["auth"] = subscription(key, &self.socket_id, name, Some(&user)).into();
            data["channel_data"] = user.into();
        }
        self.say(&json!({ "event": "pusher:subscribe", "data": data }))
    }

    fn say(&self, message: &Value) -> anyhow::Result<()> {
        let frame = masked(TEXT, message.to_string().as_bytes());
        self.socket.stream().write_all(&frame).context("the server went away")
    }
}

/// What a frame says, as far as it matters here.
enum Heard {
    Nothing,
    Event(Channel, Mark),
    Subscribed(Channel, Option<Vec<Arc<str>>>),
    Member(Channel, Arc<str>, bool),
    Refused(Channel, String),
    Close(Option<u16>),
}

impl Heard {
    fn read(stage: &Stage, frame: Frame<'_>) -> anyhow::Result<Self> {
        if frame.opcode == CLOSE {
            let code = frame.payload.first_chunk().map(|code| u16::from_be_bytes(*code));
            return Ok(Self::Close(code));
        }
        let message: Message = serde_json::from_slice(frame.payload)?;
        let channel = message.channel.as_deref().and_then(|name| stage.plan.number(name));
        let Some(channel) = channel else { return Ok(Self::Nothing) };
        let data = message.data.map(RawValue::get).unwrap_or_default();
        Ok(match &*message.event {
            "pusher_internal:subscription_succeeded" => {
                let is_presence = stage.plan.presence.contains(&channel);
                Self::Subscribed(channel, is_presence.then(|| members(&inner(data))))
            }
            "pusher_internal:member_added" => Self::Member(channel, user(&inner(data)), true),
            "pusher_internal:member_removed" => Self::Member(channel, user(&inner(data)), false),
            "pusher:subscription_error" => Self::Refused(channel, data.to_owned()),
            _ => match Mark::find(data.as_bytes(), &mut 0) {
                Some(mark) => Self::Event(channel, mark),
                None => Self::Nothing,
            },
        })
    }
}

/// Data is JSON in a JSON string.
fn inner(data: &str) -> Value {
    let text: Option<String> = serde_json::from_str(data).ok();
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

fn user(data: &Value) -> Arc<str> {
    data["user_id"].as_str().unwrap_or_default().into()
}

fn members(data: &Value) -> Vec<Arc<str>> {
    let ids = data["presence"]["ids"].as_array().into_iter().flatten();
    ids.filter_map(Value::as_str).map(Arc::from).collect()
}
