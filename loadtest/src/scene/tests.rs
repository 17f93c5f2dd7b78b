//! A scene and a server that does what a test tells it, right or wrong.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use proto::websocket::{close_frame, text_frame};

use crate::dialect::Dialect;

use super::*;

const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n";

/// A server that accepts by hand, and a target that is it.
fn server() -> (TcpListener, Target) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, Target { address, dialect: Dialect::Bare, pid: None })
}

/// A scene of one client of stream 0.
fn scene(target: &Target, role: Role) -> Scene<'_> {
    let checker = Checker::of_absent(vec![0], 1, 1);
    let mut scene = Scene::new(target, (checker, 1), (0, 0)).unwrap();
    scene.add(Seat { channel: Some("c".into()), user: None }, role);
    scene
}

/// Accepts the client that comes, and answers with these bytes behind the upgrade.
fn let_in(scene: &mut Scene<'_>, listener: &TcpListener, behind: &[u8]) -> TcpStream {
    scene.come(0, scene.now_ns()).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    // The request is not looked at, but a reset would come if it were not read.
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        scene.turn(Duration::ZERO).unwrap();
        let mut buffer = [0; 1024];
        let count = stream.read(&mut buffer).unwrap();
        request.extend_from_slice(&buffer[..count]);
    }
    stream.write_all(&[UPGRADED, behind].concat()).unwrap();
    turn_until(scene, |scene| scene.is_here(0));
    stream
}

#[track_caller]
fn turn_until(scene: &mut Scene<'_>, is_so: impl Fn(&Scene<'_>) -> bool) {
    let began = Instant::now();
    while !is_so(scene) {
        assert!(began.elapsed() < STALL_MAX, "it does not come to that");
        scene.turn(LOOK_EVERY).unwrap();
    }
}

fn event(number: u32) -> Vec<u8> {
    text_frame(&Mark { stream: 0, number }.data(20)).to_vec()
}

fn publish(scene: &mut Scene<'_>) {
    scene.tally.checker.publish(0);
    scene.tally.sent(0, 1, scene.now_ns());
}

#[test]
fn what_comes_with_the_welcome_counts_and_what_is_missing_behind_it_is_lost() {
    let (listener, target) = server();
    let mut scene = scene(&target, Role::Subscriber);
    publish(&mut scene);
    // Published while it came: it may get it.
    let mut stream = let_in(&mut scene, &listener, &event(0));
    assert_eq!((scene.tally.delivered, scene.arrivals.came, scene.coming()), (1, 1, 0));
    (0..3).for_each(|_| publish(&mut scene));
    stream.write_all(&[event(1), event(3), event(3)].concat()).unwrap();
    turn_until(&mut scene, |scene| scene.tally.delivered == 3);
    let expected = Faults { lost: 1, duplicated: 1, ..Faults::default() };
    assert_eq!(scene.faults(), expected);
}

#[test]
fn who_is_cut_and_comes_back_is_judged_from_then_on() {
    let (listener, target) = server();
    let mut scene = scene(&target, Role::Subscriber);
    let _before = let_in(&mut scene, &listener, b"");
    publish(&mut scene);
    scene.cut(0);
    publish(&mut scene);
    let mut stream = let_in(&mut scene, &listener, b"");
    publish(&mut scene);
    stream.write_all(&event(2)).unwrap();
    scene.settle().unwrap();
    assert_eq!((scene.faults(), scene.tally.delivered), (Faults::default(), 1));
}

#[test]
fn only_a_sluggard_may_be_closed() {
    let (listener, target) = server();
    for (role, closed) in [(Role::Subscriber, 1), (Role::Sluggard, 0)] {
        let mut scene = scene(&target, role);
        let mut stream = let_in(&mut scene, &listener, b"");
        publish(&mut scene);
        scene.deafen(0).unwrap();
        stream.write_all(&close_frame(4100, "slow")).unwrap();
        scene.turn(Duration::ZERO).unwrap();
        assert!(!scene.is_here(0) && scene.let_go.is_empty(), "it does not read");
        scene.listen(0).unwrap();
        turn_until(&mut scene, |scene| !scene.is_here(0));
        let faults = scene.faults();
        assert_eq!((faults.closed, faults.lost), (closed, closed));
        let told: &[(usize, Option<u16>)] = if closed == 0 { &[(0, Some(4100))] } else { &[] };
        assert_eq!(scene.let_go, told);
    }
}

#[test]
fn who_is_refused_has_failed_and_may_try_again() {
    let (listener, target) = server();
    let mut scene = scene(&target, Role::Subscriber);
    scene.come(0, 0).unwrap();
    drop(listener.accept().unwrap());
    turn_until(&mut scene, |scene| !scene.failed.is_empty());
    assert_eq!((scene.arrivals.failed, scene.coming(), scene.is_here(0)), (1, 0, false));
    let _stream = let_in(&mut scene, &listener, b"");
    assert_eq!(scene.arrivals.came, 1);
}
