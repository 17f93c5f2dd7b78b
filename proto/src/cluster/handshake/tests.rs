//! Handshakes that succeed, and every way in which one must not.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const NONCES: [Nonce; 2] = [[7; 32], [8; 32]];

fn keys(secret: &str) -> Keys {
    Keys::new(&Secret::new(secret))
}

fn life(node: &str, incarnation: u64) -> RelayId {
    RelayId { node: NodeId::parse(node).unwrap(), incarnation }
}

fn introduction(node: &str) -> Introduction {
    Introduction { id: life(node, 1), wire: 0x0100, slots: 4096 }
}

/// Both sides of one attempt, each with what it may differ in.
struct Attempt {
    dialer: Introduction,
    acceptor: Introduction,
    purpose: Purpose,
    secrets: [&'static str; 2],
    bindings: [&'static [u8]; 2],
}

impl Default for Attempt {
    fn default() -> Self {
        Self {
            dialer: introduction("a"),
            acceptor: introduction("b"),
            purpose: Purpose::Link(life("b", 1)),
            secrets: ["secret"; 2],
            bindings: [b""; 2],
        }
    }
}

impl Attempt {
    /// What both sides agreed on, or who refused and why.
    fn run(&self) -> Result<[Agreed; 2], (&'static str, Refusal)> {
        let [ours, theirs] = self.secrets.map(keys);
        let (purpose, me) = (self.purpose.clone(), self.dialer.clone());
        let (dialing, hello) = dial(&ours, me, purpose, NONCES[0], self.bindings[0]);
        let greeted = accept(&theirs, &self.acceptor, &hello, &NONCES[1], self.bindings[1]);
        let (greeted, welcome) = greeted.map_err(|refusal| ("acceptor", refusal))?;
        let dialer = |refusal| ("dialer", refusal);
        let (proving, proof) = dialing.receive(&welcome).map_err(dialer)?;
        let proved = greeted.receive(&proof).map_err(|refusal| ("acceptor", refusal))?;
        assert_eq!(*proved.peer(), self.dialer.id);
        assert_eq!(proved.is_probe(), self.purpose == Purpose::Probe);
        let (agreed, proof) = proved.finish();
        Ok([proving.receive(&proof).map_err(dialer)?, agreed])
    }
}

#[track_caller]
fn check_refused(attempt: &Attempt, by: &str, rule: Rule, reason: &str) {
    let (refuser, refusal) = attempt.run().unwrap_err();
    assert_eq!((refuser, refusal.rule), (by, rule), "{refusal}");
    assert!(refusal.to_string().contains(reason), "{refusal}");
    // The other side reads the same.
    let told = refusal.encode();
    let mut reader = Reader::new(&told);
    assert_eq!(reader.kind(), Ok(Kind::Refusal));
    assert_eq!(Refusal::decode(&mut reader), Ok(refusal));
}

#[test]
fn both_sides_agree_on_who_they_are_and_on_a_number() {
    let [dialer, acceptor] = Attempt::default().run().unwrap();
    assert_eq!((dialer.peer, acceptor.peer), (life("b", 1), life("a", 1)));
    assert_eq!(dialer.session, acceptor.session);
    let other = Attempt { dialer: introduction("c"), ..Attempt::default() }.run().unwrap();
    assert_ne!(other[0].session, dialer.session);
}

#[test]
fn minor_versions_may_differ_and_probes_want_nobody() {
    let mut attempt = Attempt { purpose: Purpose::Probe, ..Attempt::default() };
    attempt.acceptor.wire = 0x0103;
    attempt.run().unwrap();
}

#[test]
fn every_difference_is_refused_with_its_reason() {
    let secrets = Attempt { secrets: ["one", "two"], ..Attempt::default() };
    check_refused(&secrets, "acceptor", Rule::Secret, "cluster.secret");
    let bindings = Attempt { bindings: [b"tls 1", b"tls 2"], ..Attempt::default() };
    check_refused(&bindings, "acceptor", Rule::Secret, "secret");
    let life_2 = Attempt { purpose: Purpose::Link(life("b", 2)), ..Attempt::default() };
    check_refused(&life_2, "acceptor", Rule::AnotherLife, "b in its life 1");
    let another = Attempt { purpose: Purpose::Link(life("c", 1)), ..Attempt::default() };
    check_refused(&another, "acceptor", Rule::AnotherLife, "b in its life 1");
    let myself = Attempt { dialer: introduction("b"), ..Attempt::default() };
    check_refused(&myself, "acceptor", Rule::Myself, "itself");
    let mut twin = Attempt { dialer: introduction("b"), ..Attempt::default() };
    twin.dialer.id.incarnation = 9;
    check_refused(&twin, "acceptor", Rule::SameNode, "the id b");
    let mut wire = Attempt::default();
    wire.dialer.wire = 0x0203;
    check_refused(&wire, "acceptor", Rule::Wire, "1.0 on b and 2.3 on a");
    let mut slots = Attempt::default();
    slots.dialer.slots = 16384;
    check_refused(
        &slots,
        "acceptor",
        Rule::Slots,
        "b divides channels into 4096 slots and a into 16384",
    );
}

#[test]
fn the_dialer_does_not_trust_whoever_answers() {
    let keys = keys("secret");
    let purpose = Purpose::Link(life("b", 1));
    let begin = || dial(&keys, introduction("a"), purpose.clone(), NONCES[0], b"").0;
    let welcome = |me: &Introduction| {
        wire::encode_introduction(Writer::new(Kind::Welcome), me, &NONCES[1]).finish()
    };
    let rule = |me: &Introduction| begin().receive(&welcome(me)).unwrap_err().rule;
    assert_eq!(rule(&introduction("c")), Rule::AnotherLife);
    assert_eq!(rule(&Introduction { wire: 0, ..introduction("b") }), Rule::Wire);
    assert_eq!(rule(&Introduction { slots: 1, ..introduction("b") }), Rule::Slots);

    // Whoever does not know the secret cannot answer the proof, not even with the proof itself.
    let (proving, proof) = begin().receive(&welcome(&introduction("b"))).unwrap();
    assert_eq!(proving.receive(&proof).unwrap_err().rule, Rule::Secret);
    let (proving, _) = begin().receive(&welcome(&introduction("b"))).unwrap();
    let forged = Writer::new(Kind::Proof).bytes(&[0; 32]).finish();
    assert_eq!(proving.receive(&forged).unwrap_err().rule, Rule::Secret);
}

#[test]
fn a_recorded_handshake_is_refused() {
    let (keys, b) = (keys("secret"), introduction("b"));
    let purpose = Purpose::Link(life("b", 1));
    let (dialing, hello) = dial(&keys, introduction("a"), purpose.clone(), NONCES[0], b"");
    let (greeted, welcome) = accept(&keys, &b, &hello, &NONCES[1], b"").unwrap();
    let (_, proof) = dialing.receive(&welcome).unwrap();
    let (_, answer) = greeted.receive(&proof).unwrap().finish();

    // The same hello and proof again: the acceptor has drawn another nonce.
    let (greeted, _) = accept(&keys, &b, &hello, &[9; 32], b"").unwrap();
    assert_eq!(greeted.receive(&proof).unwrap_err().rule, Rule::Secret);
    // The recorded answers for another dialer: it has drawn another nonce.
    let (dialing, _) = dial(&keys, introduction("a"), purpose, [9; 32], b"");
    let (proving, _) = dialing.receive(&welcome).unwrap();
    assert_eq!(proving.receive(&answer).unwrap_err().rule, Rule::Secret);
}

#[test]
fn no_byte_of_a_message_can_be_changed_or_left_out() {
    let (keys, b) = (keys("secret"), introduction("b"));
    let purpose = Purpose::Link(life("b", 1));
    let (_, hello) = dial(&keys, introduction("a"), purpose.clone(), NONCES[0], b"");
    for at in 0..hello.len() {
        let mut changed = hello.clone();
        changed[at] ^= 1;
        let (dialing, _) = dial(&keys, introduction("a"), purpose.clone(), NONCES[0], b"");
        let Ok((greeted, welcome)) = accept(&keys, &b, &changed, &NONCES[1], b"") else {
            continue;
        };
        let (_, proof) = dialing.receive(&welcome).unwrap();
        assert_eq!(greeted.receive(&proof).unwrap_err().rule, Rule::Secret, "byte {at}");
    }
    for length in 0..hello.len() {
        assert!(accept(&keys, &b, &hello[..length], &NONCES[1], b"").is_err(), "{length} bytes");
    }
}

#[test]
fn a_reason_from_outside_is_made_printable_and_short() {
    let told = [vec![Kind::Refusal as u8, 99], b"a\x1b[31mb\n".to_vec(), vec![b'x'; 4000]].concat();
    let keys = keys("secret");
    let (dialing, _) = dial(&keys, introduction("a"), Purpose::Probe, NONCES[0], b"");
    let refusal = dialing.receive(&told).unwrap_err();
    assert_eq!(refusal.rule, Rule::Other);
    assert!(refusal.to_string().starts_with("a[31mbxxx") && refusal.to_string().len() == 256);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_let_a_stranger_in(mut bytes in vec(any::<u8>(), 0..300), kind in 1_u8..5) {
        if let Some(first) = bytes.first_mut() {
            *first = kind;
        }
        let (keys, b) = (keys("secret"), introduction("b"));
        let purpose = Purpose::Link(life("b", 1));
        let begin = || dial(&keys, introduction("a"), purpose.clone(), NONCES[0], b"");
        prop_assert!(accept(&keys, &b, &bytes, &NONCES[1], b"").is_err());
        let (dialing, hello) = begin();
        prop_assert!(dialing.receive(&bytes).is_err());
        let (greeted, welcome) = accept(&keys, &b, &hello, &NONCES[1], b"").unwrap();
        prop_assert!(greeted.receive(&bytes).is_err());
        let (proving, _) = begin().0.receive(&welcome).unwrap();
        prop_assert!(proving.receive(&bytes).is_err());
    }
}
