//! Scripts for the channel machine: one command a line, and what it answers and wants done.

mod comings;
mod grace;
mod memory;
mod parted;
mod session;
mod users;

use std::fmt::Write as _;
use std::time::Duration;

use expect_test::{Expect, expect};

use super::*;
use crate::event::{Data, Event, Priority};
use crate::name::{EventName, NodeId, SocketId, UserId};
use crate::position::Offset;

struct Script {
    channel: Channel,
    now: Now,
    out: String,
}

fn relay(number: &str) -> RelayId {
    RelayId { node: NodeId::parse(&format!("n{number}")).unwrap(), incarnation: 1 }
}

fn socket(text: &str) -> SocketId {
    SocketId::parse(&format!("{text}.0")).unwrap()
}

fn settings() -> Settings {
    Settings {
        history: History { events: 3, seconds: 120, bytes: 100 },
        presence_members: 2,
        cache_for: Duration::from_secs(1800),
        subscription_count: false,
        webhooks: true,
    }
}

fn draft(text: &str, origin: Origin) -> Draft {
    let name = EventName::parse("e").unwrap();
    let data = Data::Text(text.into());
    let event = Event { name, data };
    Draft { id: 0, event, origin, ttl_ms: 0, priority: Priority::Normal, retry: None }
}

/// Runs a script on a new channel and compares what comes out.
#[track_caller]
#[allow(clippy::needless_pass_by_value)] // `expect!` makes a value.
fn check(name: &str, script: &str, want: Expect) {
    let epoch = Epoch { birth: 1, incarnation: 1 };
    let name = match name.strip_prefix("#session-") {
        Some(id) => ChannelName::of_session(id),
        None => ChannelName::parse(name),
    };
    let channel = Channel::new(name.unwrap(), epoch, settings());
    let moment = Moment::from_micros(1_000_000);
    let mut run = Script { channel, now: Now { moment, unix_ms: 0 }, out: String::new() };
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        run.line(line);
    }
    want.assert_eq(&run.out);
}

impl Script {
    /// The application has heard everything.
    fn tell_all(&mut self) {
        for edge in self.channel.untold().collect::<Vec<_>>() {
            let told = Command::Told { number: edge.id.number };
            self.channel.apply(told, self.now, &mut Vec::new());
        }
    }

    /// The owner is gone, and nobody had a copy.
    fn forget(&mut self) {
        let name = self.channel.name.clone();
        self.channel = Channel::forgotten(name, self.channel.position.epoch, settings());
    }

    /// The only place that calls `Channel::apply`.
    #[allow(clippy::too_many_lines)] // One arm for each kind of line.
    fn line(&mut self, line: &str) {
        writeln!(self.out, "> {line}").unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let command = match words.as_slice() {
            ["wait", seconds] => {
                let wait = Duration::from_secs(seconds.parse().unwrap());
                self.now.moment = self.now.moment + wait;
                Command::Tick
            }
            ["join", r, s] => join(r, s, Role::Subscriber(None)),
            ["join", r, s, user] => {
                let user = UserId::parse(user).unwrap();
                let member = Member::new(user, Some(format!("\"{s}\"").into()));
                join(r, s, Role::Subscriber(Some(member.into())))
            }
            ["join", r, s, user, "with", seconds] => {
                let grace_ms = 1_000 * seconds.parse::<u32>().unwrap();
                let member = Member::new(UserId::parse(user).unwrap(), None);
                let member = Member { grace_ms, ..member };
                join(r, s, Role::Subscriber(Some(member.into())))
            }
            ["rejoin", r, s, offset] => {
                let offset = Offset(offset.parse().unwrap());
                let since = Some(Position { offset, ..self.channel.position });
                let (socket, role) = (socket(s), Role::Subscriber(None));
                Command::Join { relay: relay(r), joined: Joined { socket, role, since, was: None } }
            }
            ["rejoin", r, s, offset, "of", birth] => {
                let epoch = Epoch { birth: birth.parse().unwrap(), incarnation: 1 };
                let since = Some(Position { epoch, offset: Offset(offset.parse().unwrap()) });
                let (socket, role) = (socket(s), Role::Subscriber(None));
                let joined = Joined { socket, role, since, was: None };
                Command::Join { relay: relay(r), joined }
            }
            // Another node has served it, and published something.
            ["reunite", text] => {
                let mut other = self.channel.clone();
                other.take_over(Epoch { birth: 2, incarnation: 2 });
                let publish = Command::Publish(draft(text, Origin::Api { except: None }));
                other.apply(publish, self.now, &mut Vec::new());
                Command::Reunite(other.into_branch())
            }
            ["takeover", birth] => {
                let birth = birth.parse().unwrap();
                return self.channel.take_over(Epoch { birth, incarnation: 1 });
            }
            ["signin", r, s] => join(r, s, Role::SignedIn),
            ["watch", r, s] => join(r, s, Role::Watcher),
            ["unsubscribe", r, s] => Command::Unsubscribe { relay: relay(r), socket: socket(s) },
            ["leave", r, s] => Command::Leave { relay: relay(r), socket: socket(s) },
            ["lost", r] => Command::RelayLost { relay: relay(r) },
            ["resync", r, "waiting", s] => {
                let joining = vec![Joined::new(socket(s), Role::SignedIn)];
                let part = Resync::nothing(relay(r), Part { index: 0, of: 1 });
                Command::Resync(vec![Resync { joining, ..part }])
            }
            ["resync", r, s, user] => {
                let member = Member::new(UserId::parse(user).unwrap(), None);
                let role = Role::Subscriber(Some(member.into()));
                let joined = vec![Joined::new(socket(s), role)];
                let last = Position { offset: Offset(7), ..Position::default() };
                let (joining, tail) = (Vec::new(), Vec::new());
                let part = Part { index: 0, of: 1 };
                let relay = relay(r);
                Command::Resync(vec![Resync { relay, part, joined, joining, last, tail }])
            }
            ["publish", text] => Command::Publish(draft(text, Origin::Api { except: None })),
            ["publish", text, "for", seconds] => {
                let draft = draft(text, Origin::Api { except: None });
                let ttl_ms = seconds.parse::<u32>().unwrap() * 1000;
                Command::Publish(Draft { ttl_ms, ..draft })
            }
            ["publish", text, "but", s] => {
                Command::Publish(draft(text, Origin::Api { except: Some(socket(s)) }))
            }
            ["notify", text] => Command::Publish(draft(text, Origin::Notice)),
            ["client", s, text] => {
                Command::Publish(draft(text, Origin::Client { socket: socket(s), user: None }))
            }
            ["forgotten"] => {
                return self.forget();
            }
            ["told"] => {
                return self.tell_all();
            }
            ["terminate"] => Command::Terminate,
            ["inspect"] => Command::Inspect,
            ["history"] => {
                let texts: Vec<String> = self.channel.history().map(|p| shown(p)).collect();
                return writeln!(self.out, "  [{}]", texts.join(", ")).unwrap();
            }
            ["idle?"] => {
                let is_idle = self.channel.is_idle(self.now.moment);
                return writeln!(self.out, "  {is_idle}").unwrap();
            }
            other => panic!("no such line: {other:?}"),
        };
        let mut effects = Vec::new();
        let reply = self.channel.apply(command, self.now, &mut effects);
        for effect in effects {
            writeln!(self.out, "  {}", effect_text(&effect)).unwrap();
        }
        if line.starts_with("wait") {
            let deadline = self.channel.deadline();
            assert!(
                deadline.is_none_or(|at| at > self.now.moment),
                "{line}: it would tick for ever"
            );
        }
        if reply != Reply::Done {
            writeln!(self.out, "  = {}", reply_text(&reply)).unwrap();
        }
    }
}

fn join(r: &str, s: &str, role: Role) -> Command {
    Command::Join { relay: relay(r), joined: Joined::new(socket(s), role) }
}

fn shown(publication: &Publication) -> String {
    let (Data::Text(text) | Data::Json(text)) = &publication.draft.event.data;
    let user = match &publication.draft.origin {
        Origin::Client { user: Some(user), .. } => format!(" by {user}"),
        _ => String::new(),
    };
    let except = publication.draft.origin.except().map(|s| format!(" but {s}"));
    format!("@{} {text}{user}{}", publication.position.offset.0, except.unwrap_or_default())
}

fn effect_text(effect: &Effect) -> String {
    match effect {
        Effect::Webhook(edge) => format!("webhook {:?}", edge.happening),
        Effect::Relay { to, delivery } => format!("{}: {}", to.node, delivery_text(delivery)),
        Effect::Remember(retry, published) => format!("remember {} {published:?}", retry.key),
    }
}

fn delivery_text(delivery: &Delivery) -> String {
    match delivery {
        Delivery::Welcome { joined, welcome } => {
            let mut text = format!("welcome {} @{}", joined.socket, welcome.position.offset.0);
            if let Some(members) = &welcome.members {
                let ids: Vec<&str> = members.iter().map(|m| m.user.as_str()).collect();
                write!(text, " members {}", ids.join(",")).unwrap();
            }
            match &welcome.cached {
                Some(Cached::Hit(publication)) => write!(text, " cached {}", shown(publication)),
                Some(Cached::Miss) => write!(text, " cache miss"),
                None => Ok(()),
            }
            .unwrap();
            match &welcome.recovery {
                Some(Recovery::Whole(missed)) => {
                    let missed: Vec<String> = missed.iter().map(|p| shown(p)).collect();
                    write!(text, " missed [{}]", missed.join(", ")).unwrap();
                }
                Some(Recovery::Gap) => text.push_str(" gap"),
                None => {}
            }
            if joined.role == Role::Watcher {
                write!(text, " online {}", welcome.is_online).unwrap();
            }
            text
        }
        Delivery::Published(publication) => shown(publication),
        Delivery::MemberAdded { member, except } => format!("+{} but {except}", member.user),
        Delivery::MemberRemoved { user, .. } => format!("-{user}"),
        Delivery::Resumed(resumed) => format!("resumed at {}", resumed.position.offset.0),
        Delivery::SubscriptionCount(count) => format!("count {count}"),
        Delivery::Online(is_online) => format!("online {is_online}"),
        Delivery::Terminate => "terminate".into(),
        Delivery::Notified(text) => format!("notified {text}"),
    }
}

fn reply_text(reply: &Reply) -> String {
    match reply {
        Reply::Published(published) => {
            let offset = published.position.map_or(0, |position| position.offset.0);
            format!("@{offset} to {} ({})", published.subscribers, published.members)
        }
        Reply::Channel(summary) => {
            let cached = summary.cached.as_ref().map(|(p, ttl)| format!(" {} {ttl}s", shown(p)));
            let cached = cached.unwrap_or_default();
            format!("{} subscribers, {} members{cached}", summary.subscribers, summary.members)
        }
        Reply::Refused(refusal) => format!("refused: {refusal}"),
        Reply::Done | Reply::Members(_) => format!("{reply:?}"),
    }
}

#[test]
fn each_relay_gets_one_copy_whatever_its_subscribers() {
    check(
        "room",
        "join 1 1
         join 2 2
         join 2 3
         publish hello",
        expect![[r#"
            > join 1 1
              webhook ChannelOccupied
              n1: welcome 1.0 @0
            > join 2 2
              n2: welcome 2.0 @0
            > join 2 3
              n2: welcome 3.0 @0
            > publish hello
              n1: @1 hello
              n2: @1 hello
              = @1 to 3 (0)
        "#]],
    );
}

#[test]
fn offsets_have_no_gap_and_exclusion_travels_with_the_event() {
    check(
        "private-room",
        "join 1 1
         publish a
         publish b but 1
         client 1 c
         client 9 d
         history",
        expect![[r#"
            > join 1 1
              webhook ChannelOccupied
              n1: welcome 1.0 @0
            > publish a
              n1: @1 a
              = @1 to 1 (0)
            > publish b but 1
              n1: @2 b but 1.0
              = @2 to 1 (0)
            > client 1 c
              n1: @3 c but 1.0
              webhook ClientEvent { event: "e", data: "c", socket_id: 1.0, user_id: None }
              = @3 to 1 (0)
            > client 9 d
              = refused: you are not subscribed to this channel
            > history
              [@1 a, @2 b but 1.0, @3 c but 1.0]
        "#]],
    );
}

#[test]
fn client_events_carry_the_member_that_sent_them_and_are_not_cached() {
    check(
        "presence-cache-room",
        "join 1 1 ana
         publish x
         client 1 typing
         join 1 2 ben",
        expect![[r#"
            > join 1 1 ana
              webhook ChannelOccupied
              webhook MemberAdded { user_id: "ana" }
              webhook CacheMiss
              n1: welcome 1.0 @0 members ana cache miss
            > publish x
              n1: @1 x
              = @1 to 1 (1)
            > client 1 typing
              n1: @2 typing by ana but 1.0
              webhook ClientEvent { event: "e", data: "typing", socket_id: 1.0, user_id: Some("ana") }
              = @2 to 1 (1)
            > join 1 2 ben
              n1: +ben but 2.0
              webhook MemberAdded { user_id: "ben" }
              n1: welcome 2.0 @2 members ana,ben cached @1 x
        "#]],
    );
}

#[test]
fn a_new_owner_takes_in_what_the_relays_have_without_announcing_it() {
    check(
        "presence-room",
        "forgotten
         resync 1 1 ana
         publish next
         leave 1 1
         wait 3",
        expect![[r#"
            > forgotten
            > resync 1 1 ana
              n1: resumed at 7
            > publish next
              n1: @8 next
              = @8 to 1 (1)
            > leave 1 1
            > wait 3
              webhook MemberRemoved { user_id: "ana" }
              webhook ChannelVacated
        "#]],
    );
}

#[test]
fn the_count_is_told_on_every_change_up_to_a_hundred_and_then_every_five_seconds() {
    let settings = Settings { subscription_count: true, ..settings() };
    let joins: Vec<String> = (1..=103).map(|n| format!("join 1 {n}")).collect();
    let mut script = joins.join("\n");
    script.push_str("\nwait 5\nleave 1 1");
    let epoch = Epoch::default();
    let channel = Channel::new(ChannelName::parse("room").unwrap(), epoch, settings);
    let now = Now { moment: Moment::from_micros(1), unix_ms: 0 };
    let mut run = Script { channel, now, out: String::new() };
    script.lines().for_each(|line| run.line(line));
    let told: Vec<&str> = run.out.lines().filter(|line| line.contains(": count")).collect();
    assert_eq!(told.len(), 101);
    assert_eq!(told[99..], ["  n1: count 100", "  n1: count 103"]);
}
