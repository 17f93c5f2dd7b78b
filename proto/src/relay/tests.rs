//! What a relay shard tells its connections when the owner changes.

use std::sync::Arc;

use super::*;
use crate::channel::Welcome;
use crate::position::Epoch;

fn member(user: &str) -> Arc<Member> {
    Arc::new(Member::new(UserId::parse(user).unwrap(), None))
}

fn resumed(members: &[&Arc<Member>]) -> Resumed {
    let members = Some(members.iter().map(|member| Arc::clone(member)).collect());
    let position = Position { epoch: Epoch { birth: 1, incarnation: 1 }, ..Position::default() };
    Resumed { position, members, is_online: false, is_diverged: false }
}

/// A connection of a member joins, and the owner lists these.
fn enter(
    local: &mut Local<()>,
    socket: &str,
    who: &Arc<Member>,
    listed: &[&Arc<Member>],
) -> Changes {
    let role = Role::Subscriber(Some(Arc::clone(who)));
    let joined = Joined::new(SocketId::parse(socket).unwrap(), role);
    local.join(joined.clone());
    let Resumed { position, members, .. } = resumed(listed);
    let welcome = Welcome { position, members, ..Welcome::default() };
    local.welcome(&joined, &welcome, ()).unwrap()
}

/// An owner that takes over hears of one part of a relay before it hears of the next.
#[test]
fn who_is_here_stays_a_member_while_the_owner_has_not_heard_of_it() {
    let (ann, bob, eve) = (member("ann"), member("bob"), member("eve"));
    let mut local: Local<()> = Local::default();
    enter(&mut local, "1.1", &ann, &[&ann, &bob]);

    let changes = local.resumed(&resumed(&[&eve]));
    assert_eq!((changes.added, changes.removed), (vec![Arc::clone(&eve)], vec![Arc::clone(&bob)]));
    assert!(!local.member_added(&ann), "its connections were never told that it had gone");
    let changes = local.resumed(&resumed(&[&ann, &eve]));
    assert_eq!((changes.added, changes.removed), (vec![], vec![]));
}

/// The owner hears that a user's connection elsewhere is gone before it hears of the one that is here.
#[test]
fn who_is_here_is_not_told_that_it_went() {
    let (ann, bob) = (member("ann"), member("bob"));
    let mut local: Local<()> = Local::default();
    for socket in ["1.1", "2.2"] {
        enter(&mut local, socket, &ann, &[&ann, &bob]);
    }
    assert_eq!(local.member_removed(&ann.user), None);
    assert!(!local.member_added(&ann), "when the owner has heard of it nobody has to be told");
    local.leave(SocketId::parse("1.1").unwrap());
    assert_eq!(local.member_removed(&ann.user), None, "by its other connection it is still here");
    local.unsubscribe(SocketId::parse("2.2").unwrap());
    assert_eq!(local.member_removed(&ann.user), Some(ann));
}

/// One that is let in by an owner that has not heard of those who are here has to be told of them.
#[test]
fn who_comes_is_told_of_those_whom_the_owner_does_not_list() {
    let (ann, bob) = (member("ann"), member("bob"));
    let mut local: Local<()> = Local::default();
    assert_eq!(enter(&mut local, "1.1", &ann, &[&ann]).unlisted, []);
    let changes = enter(&mut local, "2.2", &bob, &[&bob]);
    assert_eq!((changes.added, changes.removed), (vec![bob], vec![]));
    assert_eq!(changes.unlisted, [ann]);
}

/// The welcome comes from the channel and the answer from the node: one of them can be lost.
#[test]
fn who_has_been_welcomed_is_in_whatever_became_of_the_answer() {
    let socket = SocketId::parse("1.1").unwrap();
    for role in [Role::Subscriber(None), Role::SignedIn, Role::Watcher] {
        let joined = Joined::new(socket, role);
        let mut local: Local<()> = Local::default();
        local.join(joined.clone());
        assert_eq!(local.refuse(&joined), Standing::Out, "{joined:?}");
        assert!(local.is_unused(), "{joined:?}");
        local.join(joined.clone());
        local.welcome(&joined, &Welcome::default(), ());
        assert_eq!(local.refuse(&joined), Standing::Welcomed, "{joined:?}");
        // It asks again, and nobody answers.
        local.join(joined.clone());
        assert_eq!(local.refuse(&joined), Standing::Before, "{joined:?}");
        assert!(local.has(socket), "{joined:?}");
    }
}

/// After a cut an owner lets somebody in before it has heard of those who are here, whom another one
/// has served meanwhile.
#[test]
fn who_comes_is_given_nothing_of_the_way_of_those_who_are_here() {
    let at =
        |birth, offset| Position { epoch: Epoch { birth, incarnation: 1 }, offset: Offset(offset) };
    let joined = |socket| Joined::new(SocketId::parse(socket).unwrap(), Role::Subscriber(None));
    let welcome = |position| Welcome { position, ..Welcome::default() };
    let mut local: Local<()> = Local::default();
    local.join(joined("1.1"));
    assert!(!local.welcome(&joined("1.1"), &welcome(at(5, 10)), ()).unwrap().is_gap);
    local.join(joined("2.2"));
    let changes = local.welcome(&joined("2.2"), &welcome(at(3, 7)), ()).unwrap();
    assert!(changes.is_gap, "who is here lacks what the owner goes on from");
    assert_eq!(local.last(), at(3, 7));
    local.join(joined("3.3"));
    assert!(
        !local.welcome(&joined("3.3"), &welcome(at(6, 9)), ()).unwrap().is_gap,
        "a later owner"
    );
}
