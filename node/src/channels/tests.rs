//! A channel that panics starts anew: with its subscribers, under a later epoch, and alone.

use std::sync::Arc;
use std::time::Duration;

use proto::channel::{Delivery, Joined, Reply, Resumed, Role};
use proto::event::{Data, Draft, Event, Origin, Priority};
use proto::name::EventName;
use proto::wire::Wire;
use proto::{ChannelName, Position, SocketId};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::*;
use crate::config::{Config, Source};
use crate::outbox::{Outbox, Writer};
use crate::relay::Attached;
use crate::{Node, channel, random};

impl Channels {
    fn inject_panic(&self, key: &ChannelKey) {
        let mut slot = self.slot(Slot::of(key));
        let mailbox = slot.custody.channel(key).expect("the channel is alive");
        mailbox.actor.cast(channel::Message::Panic).unwrap();
    }
}

fn key(name: &str) -> ChannelKey {
    let app = AppId::parse("app-id").unwrap();
    ChannelKey { app, channel: ChannelName::parse(name).unwrap() }
}

fn event(text: &str) -> Command {
    let event = Event { name: EventName::parse("e").unwrap(), data: Data::Text(text.into()) };
    let origin = Origin::Api { except: None };
    let priority = Priority::Normal;
    Command::Publish(Draft { id: 0, event, origin, ttl_ms: 0, priority, retry: None })
}

/// A subscriber whose socket the test reads.
async fn subscriber(node: &Node, name: &str) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (_, writer) = listener.accept().await.unwrap().0.into_split();
    let server = node.server();
    let outbox =
        Arc::new(Outbox::new(Writer::Plain(writer), Wire::Pusher, &proto::Limits::default()));
    let socket = SocketId::from_random(random::bits());
    let attached = Attached::new(key(name).app, socket, Wire::Pusher);
    server.relay.attach(attached, outbox).await;
    let joined = Joined::new(socket, Role::Subscriber(None));
    assert_eq!(server.relay.join(key(name), joined).await, Ok(()));
    client
}

async fn publish(node: &Node, name: &str, text: &str) -> Option<(Position, usize)> {
    let reply = node.server().router.ask(key(name), event(text)).answer().await.ok()?;
    let published = channel::published(reply).ok()?;
    Some((published.position?, published.subscribers))
}

async fn publish_until_accepted(node: &Node, name: &str, text: &str) -> (Position, usize) {
    let tries = async {
        loop {
            match publish(node, name, text).await {
                Some(published) => return published,
                None => sleep(Duration::from_millis(5)).await,
            }
        }
    };
    timeout(Duration::from_secs(10), tries).await.expect("the channel comes back")
}

async fn read_until(socket: &mut TcpStream, text: &str) {
    let mut bytes = Vec::new();
    let read = async {
        while !String::from_utf8_lossy(&bytes).contains(text) {
            let mut buffer = [0; 4096];
            let count = socket.read(&mut buffer).await.unwrap();
            assert!(count > 0, "the socket was closed");
            bytes.extend_from_slice(&buffer[..count]);
        }
    };
    timeout(Duration::from_secs(10), read).await.expect("it arrives");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_restarts_one_channel_under_a_later_epoch_with_its_subscribers() {
    let node = Node::start(Config::dev(0, 0), Source::default()).await.unwrap();
    let mut one = subscriber(&node, "room").await;
    let mut two = subscriber(&node, "room").await;
    let mut other = subscriber(&node, "other").await;
    let (before, _) = publish(&node, "room", "before").await.unwrap();
    node.server().router.channels().inject_panic(&key("room"));
    let (after, subscribers) = publish_until_accepted(&node, "room", "after").await;
    assert!(after.epoch > before.epoch, "{after:?} {before:?}");
    assert_eq!(after.offset, before.offset.next());
    assert_eq!(subscribers, 2);
    read_until(&mut one, "after").await;
    read_until(&mut two, "after").await;
    publish(&node, "other", "untouched").await.unwrap();
    read_until(&mut other, "untouched").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_fails_again_and_again_is_left_alone_and_the_node_lives() {
    let node = Node::start(Config::dev(0, 0), Source::default()).await.unwrap();
    let _one = subscriber(&node, "room").await;
    for _ in 0..5 {
        let (before, _) = publish_until_accepted(&node, "room", "x").await;
        node.server().router.channels().inject_panic(&key("room"));
        // The restart may be over before it can be seen as such: the epoch tells.
        while publish_until_accepted(&node, "room", "y").await.0.epoch == before.epoch {}
    }
    publish_until_accepted(&node, "room", "x").await;
    node.server().router.channels().inject_panic(&key("room"));
    sleep(Duration::from_millis(300)).await;
    assert_eq!(publish(&node, "room", "refused").await, None);
    let _other = subscriber(&node, "other").await;
    assert!(publish(&node, "other", "served").await.is_some());
}

/// A channel of an app may fall into the slot that keeps the app's quota: starting it from two sides
/// at once must not wait for itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_in_the_slot_of_the_quota_start_from_many_sides_at_once() {
    let node = Node::start(Config::dev(0, 0), Source::default()).await.unwrap();
    let app = AppId::parse("app-id").unwrap();
    let quota = Slot::of_name(&app, QUOTA);
    let names = (0..).map(|n| format!("room-{n}")).filter(|name| Slot::of(&key(name)) == quota);
    for name in names.take(20) {
        let joins = (0..8).map(|_| {
            let (server, key) = (Arc::clone(node.server()), key(&name));
            tokio::spawn(async move {
                let joined = Joined::new(SocketId::from_random(random::bits()), Role::Watcher);
                let join = Command::Join { relay: server.router.me().clone(), joined };
                server.router.ask(key, join)
            })
        });
        for join in joins.collect::<Vec<_>>() {
            let sent = timeout(Duration::from_secs(10), join).await.expect("nobody waits for ever");
            assert_eq!(sent.unwrap().answer().await, Ok(Reply::Done));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_panics_with_nobody_in_it_ends() {
    let mut config = Config::dev(0, 0);
    config.apps[0].limits.cache_seconds = 600;
    let node = Node::start(config, Source::default()).await.unwrap();
    publish(&node, "cache-room", "kept").await.unwrap();
    let channels = node.server().router.channels();
    assert_eq!(channels.census().len(), 1);
    channels.inject_panic(&key("cache-room"));
    let gone = async {
        while !channels.census().is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), gone).await.expect("it retains nothing and ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_shard_that_panics_closes_its_connections_and_leaves_no_ghost() {
    let node = Node::start(Config::dev(0, 0), Source::default()).await.unwrap();
    let _gone = subscriber(&node, "room").await;
    node.server().relay.inject_panics().await;
    let left = async {
        while publish(&node, "room", "to nobody").await.is_some_and(|(_, count)| count > 0) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), left).await.expect("the channel hears that it left");
    let mut next = subscriber(&node, "room").await;
    let (_, subscribers) = publish_until_accepted(&node, "room", "to one").await;
    assert_eq!(subscribers, 1);
    read_until(&mut next, "to one").await;
}

/// Between the word that a connection is closed and its last frame there is time: what another way of
/// the channel holds must not reach a client that has seen this one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_closed_for_a_gap_gets_nothing_that_comes_after_it() {
    let node = Node::start(Config::dev(0, 0), Source::default()).await.unwrap();
    // Nobody closes its socket: there is no session that would.
    let mut closed = subscriber(&node, "room").await;
    let (last, _) = publish(&node, "room", "before").await.unwrap();
    read_until(&mut closed, "before").await;
    let relay = &node.server().relay;
    let resumed = Resumed { position: last, members: None, is_online: false, is_diverged: true };
    relay.deliver(relay.id(), &key("room"), Delivery::Resumed(Arc::new(resumed))).await;
    let mut next = subscriber(&node, "room").await;
    publish(&node, "room", "after").await.unwrap();
    read_until(&mut next, "after").await;
    // Twice: what a shard answers to comes before what it writes for the same batch.
    for _ in 0..2 {
        relay.gather(Arc::new([]), relay.id()).await;
    }
    let mut buffer = [0; 4096];
    let got = closed.try_read(&mut buffer).map_err(|error| error.kind());
    let said = String::from_utf8_lossy(&buffer);
    assert_eq!(got, Err(std::io::ErrorKind::WouldBlock), "{said}");
}
