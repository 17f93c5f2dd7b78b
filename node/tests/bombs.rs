//! Small inputs that ask for much: each is refused and costs the process at most a mebibyte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What one attack may cost. The limit of one client message is 64 KiB.
const KIBIBYTES_MAX: u64 = 1_024;
const ATTACKS: u64 = 5;
const UPGRADE: &str = "GET /app/app-key?protocol=7 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_handbell"))
            .args(["dev", "--port", "0", "--admin-port", "0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
        let rest = first.split_once("http://").unwrap().1;
        let address = rest[..rest.find(' ').unwrap()].to_owned();
        Self { child, address }
    }

    fn resident_kibibytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn upgrade(&self) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(UPGRADE.as_bytes()).unwrap();
        let mut buffer = [0; 4096];
        let mut head = String::new();
        while !head.contains("connection_established") {
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "the upgrade was refused: {head}");
            head.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        assert!(!head.to_lowercase().contains("permessage-deflate"), "compression is not offered");
        stream
    }

    /// Sends bytes and reads whatever comes until the end or a pause.
    fn attack(mut stream: TcpStream, bytes: &[u8]) {
        // The server stops reading at its limit, so not all of it need leave.
        let _ = stream.write_all(bytes);
        let mut sink = Vec::new();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let _ = stream.read_to_end(&mut sink);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, 0xff];
    frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

fn check(name: &str, attack: impl Fn(&Server)) {
    let server = Server::start();
    // The first rounds let the allocator take what it keeps anyway.
    for _ in 0..ATTACKS {
        attack(&server);
    }
    let before = server.resident_kibibytes();
    for _ in 0..ATTACKS {
        attack(&server);
    }
    let grown = server.resident_kibibytes().saturating_sub(before);
    assert!(grown <= KIBIBYTES_MAX * ATTACKS, "{name}: {grown} KiB after {ATTACKS} attacks");
    let mut witness = server.connect();
    witness.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    witness.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("OK"), "{name}: {answer}");
}

#[test]
fn a_million_fragments_of_one_byte() {
    let mut bytes = vec![0x01, 0x81, 0, 0, 0, 0, b'x'];
    bytes.extend([0x00, 0x81, 0, 0, 0, 0, b'x'].repeat(1_000_000));
    check("fragments", |server| Server::attack(server.upgrade(), &bytes));
}

#[test]
fn frames_that_announce_exabytes() {
    for length in [0x7fff_ffff_ffff_ffff_u64, u64::MAX] {
        let mut frame = vec![0x81, 0xff];
        frame.extend_from_slice(&length.to_be_bytes());
        check("length", |server| Server::attack(server.upgrade(), &frame));
    }
}

#[test]
fn json_ten_thousand_levels_deep() {
    let deep =
        format!("{{\"event\":\"client-x\",\"channel\":\"c\",\"data\":{}", "[".repeat(10_000));
    let frame = masked(0x81, deep.as_bytes());
    check("depth", |server| Server::attack(server.upgrade(), &frame));
}

#[test]
fn a_header_of_a_megabyte() {
    let request = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Big: {}\r\n\r\n", "x".repeat(1 << 20));
    check("header", |server| Server::attack(server.connect(), request.as_bytes()));
}

#[test]
fn a_flood_of_pings() {
    let pings = [0x89, 0x80, 0, 0, 0, 0].repeat(100_000);
    check("pings", |server| Server::attack(server.upgrade(), &pings));
}
