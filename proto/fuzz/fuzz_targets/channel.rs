//! Any commands to a presence channel, against a plain model of who is there.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use proto::channel::{Command, Delivery, Effect, History, Joined, Member, Role, Settings};
use proto::http::webhook::{Edge, Happening};
use proto::name::NodeId;
use proto::{Channel, ChannelName, Epoch, Moment, Now, RelayId, SocketId, UserId};

#[derive(Arbitrary, Debug)]
enum Step {
    Join { relay: u8, socket: u8, user: u8, grace_ms: u16 },
    Leave { relay: u8, socket: u8 },
    Unsubscribe { relay: u8, socket: u8 },
    RelayLost { relay: u8 },
    Wait { millis: u16 },
}

fn relay(number: u8) -> RelayId {
    RelayId { node: NodeId::parse(&format!("n{}", number % 3)).unwrap(), incarnation: 1 }
}

fn socket(relay: u8, number: u8) -> SocketId {
    SocketId::from_random(u128::from(relay % 3) * 256 + u128::from(number % 16))
}

/// A connection of a user, as the model knows it.
struct Here {
    relay: RelayId,
    user: String,
    grace: Duration,
}

/// Who is there: connections, and users whose connection was lost and who may be back until then.
#[derive(Default)]
struct Truth {
    here: BTreeMap<SocketId, Here>,
    awaited: BTreeMap<SocketId, (String, Moment)>,
}

impl Truth {
    /// False if the connection cannot come as this user: a connection is one user's for all its life.
    fn join(&mut self, socket: SocketId, here: Here) -> bool {
        if self.awaited.get(&socket).is_some_and(|(user, _)| *user != here.user) {
            return false;
        }
        if !self.here.contains_key(&socket) {
            self.awaited.retain(|_, (user, _)| *user != here.user);
            self.here.insert(socket, here);
        }
        true
    }

    fn lose(&mut self, socket: SocketId, now: Moment) {
        let Some(Here { user, grace, .. }) = self.here.remove(&socket) else { return };
        if !grace.is_zero() {
            self.awaited.insert(socket, (user, now + grace));
        }
    }

    fn lose_relay(&mut self, relay: &RelayId, now: Moment) {
        let of_relay = self.here.iter().filter(|(_, here)| here.relay == *relay);
        let lost: Vec<SocketId> = of_relay.map(|(socket, _)| *socket).collect();
        lost.into_iter().for_each(|socket| self.lose(socket, now));
    }

    fn users(&self) -> BTreeSet<String> {
        let here = self.here.values().map(|here| &here.user);
        here.chain(self.awaited.values().map(|(user, _)| user)).cloned().collect()
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let settings = Settings {
        history: History::default(),
        presence_members: 100,
        cache_for: Duration::from_secs(60),
        subscription_count: false,
        webhooks: true,
    };
    let name = ChannelName::parse("presence-x").unwrap();
    let mut channel = Channel::new(name, Epoch::default(), settings);
    let mut truth = Truth::default();
    let mut announced: BTreeSet<String> = BTreeSet::new();
    let mut is_occupied = false;
    let mut now = Now { moment: Moment::from_micros(1), unix_ms: 0 };
    for step in steps {
        let mut effects = Vec::new();
        let command = match step {
            Step::Join { relay: r, socket: s, user, grace_ms } => {
                let (relay, socket) = (relay(r), socket(r, s));
                let user = format!("u{}", user % 8);
                let grace = Duration::from_millis(u64::from(grace_ms));
                let here = Here { relay: relay.clone(), user: user.clone(), grace };
                if !truth.join(socket, here) {
                    continue;
                }
                let member = Member::new(UserId::parse(&user).unwrap(), None);
                let role = Role::Subscriber(Some(Arc::new(member))).with_grace(grace);
                Command::Join { relay, joined: Joined::new(socket, role) }
            }
            Step::Leave { relay: r, socket: s } => {
                truth.lose(socket(r, s), now.moment);
                Command::Leave { relay: relay(r), socket: socket(r, s) }
            }
            Step::Unsubscribe { relay: r, socket: s } => {
                truth.here.remove(&socket(r, s));
                Command::Unsubscribe { relay: relay(r), socket: socket(r, s) }
            }
            Step::RelayLost { relay: r } => {
                truth.lose_relay(&relay(r), now.moment);
                Command::RelayLost { relay: relay(r) }
            }
            Step::Wait { millis } => {
                now.moment = now.moment + Duration::from_millis(u64::from(millis));
                truth.awaited.retain(|_, (_, until)| *until > now.moment);
                Command::Tick
            }
        };
        let is_tick = matches!(command, Command::Tick);
        channel.apply(command, now, &mut effects);
        if is_tick {
            assert!(channel.deadline().is_none_or(|at| at > now.moment), "it would tick for ever");
        }
        let users = truth.users();
        assert_eq!(channel.subscriber_count(), truth.here.len());
        assert_eq!(channel.member_count(), users.len());
        // Occupied and vacated alternate, and it is occupied while a user's place is kept.
        // Added and removed alternate for each user, as far as anyone is there to hear it.
        for effect in effects {
            let delivery = match effect {
                Effect::Relay { delivery, .. } => delivery,
                Effect::Webhook(Edge { happening: Happening::ChannelOccupied, .. }) => {
                    assert!(!is_occupied, "it is told twice");
                    is_occupied = true;
                    continue;
                }
                Effect::Webhook(Edge { happening: Happening::ChannelVacated, .. }) => {
                    assert!(is_occupied && users.is_empty(), "{users:?} are here");
                    is_occupied = false;
                    continue;
                }
                _ => continue,
            };
            match delivery {
                Delivery::MemberRemoved { user, .. } => {
                    announced.remove(user.as_str());
                }
                Delivery::Welcome { welcome, .. } => {
                    announced = welcome
                        .members
                        .iter()
                        .flatten()
                        .map(|member| member.user.to_string())
                        .collect();
                }
                Delivery::MemberAdded { member, .. } => {
                    announced.insert(member.user.to_string());
                }
                _ => {}
            }
        }
        assert!(is_occupied || users.is_empty(), "nobody was told of {users:?}");
        if !truth.here.is_empty() {
            assert_eq!(announced, users);
        }
    }
});
