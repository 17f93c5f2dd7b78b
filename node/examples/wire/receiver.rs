//! The node with the subscribers: connections of its relay, whose other ends are read here. What the
//! reading ends use is not counted; what the relay uses to write to them is.

use std::future::poll_fn;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use handbell::outbox::{Outbox, Writer};
use handbell::random;
use handbell::relay::Attached;
use handbell::server::Server;
use proto::app::Limits;
use proto::channel::{Joined, Role};
use proto::wire::Wire;
use proto::{AppId, SocketId};
use tokio::task::block_in_place;

use super::part::{self, Part};
use super::usage::{Ages, STAMP_BYTES, age_micros, cpu_micros, uncounted};
use super::{EVENT_BYTES, Order, Received, stream};

/// Connections that the channels are shared out over.
const CONNECTIONS: usize = 4;

/// Subscribes, counts and tells.
pub(super) async fn run(part: &Part, stream: SocketAddr) -> anyhow::Result<()> {
    let (ages, arrived) = (Ages::new(), Arc::default());
    stream::serve(stream, &ages, &arrived)?;
    let node = part.join().await?;
    let server = Arc::clone(node.server());
    let mut cpu = 0.0;
    while let Some(order) = block_in_place(part::next)? {
        match order {
            Order::Join(channels) => {
                part::answer(&join(&server, &channels, (&ages, &arrived)).await?)?
            }
            Order::Begin => {
                ages.take([]);
                cpu = cpu_micros();
                part::answer(&())?;
            }
            Order::End => {
                let cpu_micros = cpu_micros() - cpu;
                let (events, [p50_micros, p99_micros]) = ages.take([50, 99]);
                part::answer(&Received { events, cpu_micros, p50_micros, p99_micros })?;
            }
            Order::Run(_) => {}
        }
    }
    Ok(())
}

async fn join(
    server: &Server,
    channels: &[String],
    to: (&Ages, &Arc<AtomicU64>),
) -> anyhow::Result<usize> {
    let mut sockets = Vec::new();
    for _ in 0..CONNECTIONS {
        sockets.push(connect(server, to).await?);
    }
    for (number, channel) in channels.iter().enumerate() {
        let (socket, role) = (sockets[number % CONNECTIONS], Role::Subscriber(None));
        let joined = Joined::new(socket, role);
        server.relay.join(part::key(channel)?, joined).await?;
    }
    Ok(channels.len())
}

/// A connection as a door makes it, and a thread that reads its other end.
async fn connect(
    server: &Server,
    (ages, arrived): (&Ages, &Arc<AtomicU64>),
) -> anyhow::Result<SocketId> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (stream, _) = listener.accept()?;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let (reading, writing) = tokio::net::TcpStream::from_std(stream)?.into_split();
    let limits = Limits { outbox_events: 1 << 17, outbox_bytes: 1 << 26, ..Limits::default() };
    let outbox = Arc::new(Outbox::new(Writer::Plain(writing), Wire::Pusher, &limits));
    let (app, socket) = (AppId::parse(part::APP)?, SocketId::from_random(random::bits()));
    let attached = Attached::new(app, socket, Wire::Pusher);
    server.relay.attach(attached, Arc::clone(&outbox)).await;
    tokio::spawn(async move {
        let _reading = reading;
        // What the socket does not take at once leaves from here.
        while poll_fn(|context| outbox.poll_signal(context)).await.is_ok() {}
    });
    let (ages, arrived) = (ages.clone(), Arc::clone(arrived));
    uncounted(move || drop(read(client, &ages, &arrived)))?;
    Ok(socket)
}

/// Finds the stamps in what arrives.
fn read(mut client: TcpStream, ages: &Ages, arrived: &AtomicU64) -> anyhow::Result<()> {
    let (mut buffer, mut kept) = (vec![0; 1 << 16], 0);
    loop {
        let count = client.read(&mut buffer[kept..])?;
        anyhow::ensure!(count > 0, "the relay closed a connection");
        let filled = kept + count;
        let (mut place, mut found) = (0, 0);
        while let Some(at) = buffer[place..filled].iter().position(|&byte| byte == b'@')
            && place + at + EVENT_BYTES <= filled
        {
            let stamp = &buffer[place + at..place + at + STAMP_BYTES];
            age_micros(stamp).into_iter().for_each(|age| ages.add(age));
            (place, found) = (place + at + EVENT_BYTES, found + 1);
        }
        arrived.fetch_add(found, Relaxed);
        let rest = place.max(filled.saturating_sub(EVENT_BYTES - 1));
        buffer.copy_within(rest..filled, 0);
        kept = filled - rest;
    }
}
