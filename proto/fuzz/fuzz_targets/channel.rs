//! Any commands to a presence channel, against a plain model of who is there.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use proto::channel::{Command, Delivery, Effect, History, Joined, Member, Role, Settings};
use proto::name::NodeId;
use proto::{Channel, ChannelName, Epoch, Moment, Now, RelayId, SocketId, UserId};

#[derive(Arbitrary, Debug)]
enum Step {
    Join { relay: u8, socket: u8, user: u8 },
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
    let mut truth: BTreeMap<SocketId, (RelayId, String)> = BTreeMap::new();
    let mut announced: BTreeSet<String> = BTreeSet::new();
    let mut now = Now { moment: Moment::from_micros(1), unix_ms: 0 };
    for step in steps {
        let mut effects = Vec::new();
        let command = match step {
            Step::Join { relay: r, socket: s, user } => {
                let (relay, socket) = (relay(r), socket(r, s));
                let user = format!("u{}", user % 8);
                truth.entry(socket).or_insert_with(|| (relay.clone(), user.clone()));
                let member = Member::new(UserId::parse(&user).unwrap(), None);
                let role = Role::Subscriber(Some(Arc::new(member)));
                Command::Join { relay, joined: Joined::new(socket, role) }
            }
            Step::Leave { relay: r, socket: s } => {
                truth.remove(&socket(r, s));
                Command::Leave { relay: relay(r), socket: socket(r, s) }
            }
            Step::Unsubscribe { relay: r, socket: s } => {
                truth.remove(&socket(r, s));
                Command::Unsubscribe { relay: relay(r), socket: socket(r, s) }
            }
            Step::RelayLost { relay: r } => {
                truth.retain(|_, (at, _)| *at != relay(r));
                Command::RelayLost { relay: relay(r) }
            }
            Step::Wait { millis } => {
                now.moment = now.moment + Duration::from_millis(u64::from(millis));
                Command::Tick
            }
        };
        let is_tick = matches!(command, Command::Tick);
        channel.apply(command, now, &mut effects);
        if is_tick {
            assert!(channel.deadline().is_none_or(|at| at > now.moment), "it would tick for ever");
        }
        let users: BTreeSet<&String> = truth.values().map(|(_, user)| user).collect();
        assert_eq!(channel.subscriber_count(), truth.len());
        assert_eq!(channel.member_count(), users.len());
        // Added and removed alternate for each user, as far as anyone is there to hear it.
        for effect in effects {
            let Effect::Relay { delivery, .. } = effect else { continue };
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
        if !truth.is_empty() {
            let users: BTreeSet<String> = users.into_iter().cloned().collect();
            assert_eq!(announced, users);
        }
    }
});
