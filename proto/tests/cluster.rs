//! Links over a bad network, and the bytes of messages, which every later version must read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use expect_test::expect_file;
use proto::budget::{Deed, Doer};
use proto::channel::{
    Channel, Command, Delivery, History, Joined, Part, Recovery, Resync, Role, Settings, Welcome,
};
use proto::cluster::link::Link;
use proto::cluster::message::{Ack, Answer, Ask, Message};
use proto::cluster::replication::{Mark, Record};
use proto::cluster::slot::Slot;
use proto::cluster::takeover::Estate;
use proto::cluster::view::Phase;
use proto::cluster::visit::{Errand, Visit, Visited};
use proto::engineio::Refusal::UnknownSession;
use proto::event::{Data, Draft, Event, Origin, Priority, Publication};
use proto::idempotency::Idempotency;
use proto::name::EventName;
use proto::refusal::Refusal;
use proto::{
    AppId, ChannelKey, ChannelName, Epoch, Moment, NodeId, Now, RelayId, SocketId, UserId,
};

/// SplitMix64: enough to be unfair to frames.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// Sends numbers over a network that drops, repeats and swaps frames, and returns what arrived.
fn over_a_bad_network(seed: u64, count: u32) -> Vec<u32> {
    let mut draw = Draw(seed);
    let mut now = Moment::from_micros(1_000_000);
    let (mut a, mut b) = (Link::new(1, now), Link::new(1, now));
    a.connected(now);
    b.connected(now);
    let (mut to_b, mut to_a) = (VecDeque::new(), VecDeque::new());
    let (mut arrived, mut next) = (Vec::new(), 0);
    for _ in 0..200_000 {
        now = now + Duration::from_millis(1);
        if next < count && draw.below(3) == 0 {
            a.push(1, &next.to_be_bytes()).unwrap();
            next += 1;
        }
        for (link, wire) in [(&mut a, &mut to_b), (&mut b, &mut to_a)] {
            link.tick(now);
            while let Some(frame) = link.poll(now) {
                let copies = [0, 1, 1, 1, 2][usize::try_from(draw.below(5)).unwrap()];
                for _ in 0..copies {
                    let at = draw.below(u64::try_from(wire.len()).unwrap().min(3) + 1);
                    wire.insert(wire.len() - usize::try_from(at).unwrap(), frame.bytes.clone());
                }
            }
        }
        for (link, wire) in [(&mut b, &mut to_b), (&mut a, &mut to_a)] {
            if let Some(frame) = wire.pop_front() {
                let received = link.receive(frame.into(), now).unwrap();
                assert!(!received.is_restarted);
                for (_, body) in received.messages {
                    arrived.push(u32::from_be_bytes(body[..].try_into().unwrap()));
                }
                link.done();
            }
        }
        if arrived.len() == count as usize {
            break;
        }
    }
    arrived
}

#[test]
fn a_link_loses_repeats_and_swaps_nothing_whatever_the_network_does() {
    for seed in 0..50 {
        let arrived = over_a_bad_network(seed, 100);
        assert_eq!(arrived, (0..100).collect::<Vec<u32>>(), "seed {seed}");
    }
}

#[test]
fn a_link_never_holds_more_than_its_limit_for_a_silent_peer() {
    let mut link = Link::new(1, Moment::from_micros(1));
    let body = vec![0; 60_000];
    while link.push(1, &body).is_ok() {}
    assert!(link.backlog() <= proto::cluster::link::BACKLOG_BYTES_MAX);
    link.reset(Moment::from_micros(2));
    assert_eq!(link.backlog(), 0);
}

#[test]
fn who_lost_the_beginning_says_so_and_the_stream_begins_anew() {
    let now = Moment::from_micros(1_000_000);
    let (mut a, mut b) = (Link::new(1, now), Link::new(1, now));
    a.connected(now);
    b.connected(now);
    a.push(1, b"first").unwrap();
    b.receive(a.poll(now).unwrap().bytes.into(), now).unwrap();
    b.done();
    let later = now + Duration::from_millis(10);
    a.receive(b.poll(later).unwrap().bytes.into(), later).unwrap();
    // The peer forgets everything.
    let mut b = Link::new(2, later);
    b.connected(later);
    a.push(1, b"second").unwrap();
    let unknown = b.receive(a.poll(later).unwrap().bytes.into(), later).unwrap();
    assert!(unknown.messages.is_empty());
    let told = a.receive(b.poll(later).unwrap().bytes.into(), later).unwrap();
    assert!(told.is_forgotten && told.is_restarted);
    a.reset(later);
    a.push(1, b"third").unwrap();
    let third = b.receive(a.poll(later).unwrap().bytes.into(), later).unwrap();
    assert_eq!(third.messages, vec![(1, Bytes::from_static(b"third"))]);
}

#[allow(clippy::too_many_lines)] // One of each kind.
fn samples() -> Vec<Message> {
    let app = AppId::parse("app").unwrap();
    let channel = ChannelName::parse("room").unwrap();
    let key = ChannelKey { app: app.clone(), channel: channel.clone() };
    let slot = Slot::of(&key);
    let relay = RelayId { node: NodeId::parse("a").unwrap(), incarnation: 7 };
    let joined = Joined::new(SocketId::parse("1.2").unwrap(), Role::Subscriber(None));
    let command = Command::Join { relay: relay.clone(), joined: joined.clone() };
    let settings = Settings {
        history: History::default(),
        presence_members: 100,
        cache_for: Duration::from_secs(60),
        subscription_count: false,
        webhooks: false,
    };
    let whole = Channel::new(channel, Epoch { birth: 1, incarnation: 2 }, settings);
    let mark = Mark { generation: 3, number: 4 };
    let now = Now { moment: Moment::from_micros(5), unix_ms: 6 };
    let estate = Estate {
        is_primary: true,
        channels: vec![(key.clone(), whole.clone())],
        idempotency: Idempotency::default(),
    };
    let publication = Publication {
        draft: Draft {
            id: 8,
            event: Event { name: EventName::parse("event").unwrap(), data: Data::Text("t".into()) },
            origin: Origin::Api { except: None },
            ttl_ms: 0,
            priority: Priority::Normal,
            retry: None,
        },
        position: whole.position(),
        unix_ms: 9,
        accepted: Moment::from_micros(10),
    };
    let publication = Arc::new(publication);
    let since = Some(whole.position());
    let again = Joined { since, ..joined };
    let recovery = Some(Recovery::Whole(vec![Arc::clone(&publication)]));
    let welcome = Arc::new(Welcome { recovery, ..Welcome::default() });
    let ack = Some(Ack::Replicated);
    let part = Part { index: 0, of: 2 };
    let user = UserId::parse("ann").unwrap();
    let doer = Doer { app: app.clone(), user, deed: Deed::Publish };
    vec![
        Message::Ask(1, Ask::Channel { key: key.clone(), command: command.clone(), ack }),
        Message::Answer(1, Answer::Refused(Refusal::PresenceFull { limit: 100 })),
        Message::Deliver(key.clone(), Delivery::SubscriptionCount(3)),
        Message::Claim(slot),
        Message::Resync(key.clone(), Resync::nothing(relay.clone(), part)),
        Message::Yield(slot, Moment::from_micros(9), Box::new(estate)),
        Message::Yielded(slot),
        Message::Settled(slot),
        Message::Replicate(slot, mark, now, Box::new(Record::Begin)),
        Message::Replicate(
            slot,
            mark,
            now,
            Box::new(Record::Whole(key.clone(), Box::new(whole), None)),
        ),
        Message::Replicate(slot, mark, now, Box::new(Record::Applied(key.clone(), command))),
        Message::Replicated(slot, mark),
        Message::NotOwner(slot, mark),
        Message::Unknown(99),
        Message::Withdraw(slot),
        Message::Listed(vec![slot], part),
        Message::Taken(slot),
        Message::Sees(Phase::Serving, vec![relay.clone()]),
        Message::Published(mark, key.clone(), Arc::clone(&publication)),
        Message::Confirmed(vec![(slot, mark)]),
        // What was added since is left out where it says nothing, as in all of the above.
        Message::Deliver(key.clone(), Delivery::Welcome { joined: again.clone(), welcome }),
        Message::Ask(
            2,
            Ask::Channel { key: key.clone(), command: Command::Join { relay, joined: again }, ack },
        ),
        Message::Ask(3, Ask::Notify(app.clone(), "{}".into())),
        Message::Answer(3, Answer::Notified(4)),
        Message::Deliver(key.clone(), Delivery::Notified("{}".into())),
        Message::Ask(4, Ask::Spend(doer, 20)),
        Message::Answer(4, Answer::Part(2, 0)),
        Message::Ask(5, Ask::Transports(key)),
        Message::Answer(5, Answer::Transports(vec![1, 0, 300])),
        Message::Ask(6, Ask::Terminate(app, "1.2".into())),
        Message::Answer(6, Answer::Terminated(true)),
        Message::Visit(3, visit(Errand::Poll)),
        Message::Visit(4, visit(Errand::Post(Bytes::from_static(b"4x")))),
        Message::Visit(5, visit(Errand::Listen { is_asked: true })),
        Message::Visit(6, visit(Errand::Say(vec!["x".into()]))),
        Message::Answer(3, Answer::Visited(Visited::Payload("2".into()))),
        Message::Answer(4, Answer::Visited(Visited::Refused(UnknownSession))),
        Message::Left(5),
    ]
}

fn visit(errand: Errand) -> Visit {
    Visit { id: "sid".into(), errand }
}

#[test]
fn the_bytes_of_messages_do_not_change() {
    let mut text = String::new();
    for message in samples() {
        let (kind, body) = message.encode();
        text += &format!("{kind} {}\n", hex::encode(&body));
        assert_eq!(Message::decode(kind, &body).unwrap(), message);
    }
    expect_file!["golden/messages-2.txt"].assert_eq(&text);
}

#[test]
fn an_unknown_kind_is_an_error_that_names_it() {
    let error = Message::decode(200, &[]).unwrap_err();
    assert_eq!(error.to_string(), "message kind 200 is not known to this version");
}
