//! Bounds on everything a stranger can send, and on the time he can take.

use std::io::Read as _;
use std::time::{Duration, Instant};

use crate::support::{Connection, Setup};

/// Short limits, so that the test does not wait for the usual ones.
fn impatient() -> Setup {
    let more =
        "limits: { head_timeout: 1s, body_timeout: 1s, idle: 3s, head: 8KiB, body: 8KiB }\n".to_owned();
    Setup { more, ..Setup::new() }
}

/// How long the server keeps a connection on which nothing more comes.
fn until_closed(connection: &mut Connection) -> Duration {
    let began = Instant::now();
    while connection.receive().is_ok() {}
    began.elapsed()
}

const HEAD: &str =
    "POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n";

#[test]
fn half_a_head_holds_no_connection_neither_as_the_first_nor_as_the_second_request() {
    let server = impatient().start();
    let mut first = server.connect(None);
    first.send(b"POST /tok").unwrap();
    assert!(until_closed(&mut first) < Duration::from_secs(3));

    let billing = server.setup.pki.client("billing.example.com");
    let mut second = server.connect(Some(&billing));
    let form = [("grant_type", "client_credentials"), ("client_id", "billing")];
    assert_eq!(second.post("/token", &form).unwrap().status, 200);
    second.send(b"POST /tok").unwrap();
    assert!(until_closed(&mut second) < Duration::from_millis(2500), "the head's time, not the idle time");
}

#[test]
fn a_head_that_drips_is_timed_from_its_first_byte() {
    let server = impatient().start();
    let mut connection = server.connect(None);
    let began = Instant::now();
    for byte in HEAD.bytes().cycle() {
        if connection.send(&[byte]).is_err() || began.elapsed() > Duration::from_secs(6) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[test]
fn a_slow_body_is_answered_with_408_and_the_connection_ends() {
    let server = impatient().start();
    let mut connection = server.connect(None);
    connection.send(format!("{HEAD}Content-Length: 100\r\n\r\ngrant").as_bytes()).unwrap();
    let began = Instant::now();
    assert_eq!(connection.receive().unwrap().status, 408);
    assert!(began.elapsed() < Duration::from_secs(3));
    assert!(until_closed(&mut connection) < Duration::from_secs(3));
}

#[test]
fn an_idle_connection_ends_and_a_busy_one_does_not() {
    let server = impatient().start();
    let billing = server.setup.pki.client("billing.example.com");
    let form = [("grant_type", "client_credentials"), ("client_id", "billing")];
    let mut busy = server.connect(Some(&billing));
    for _ in 0..8 {
        assert_eq!(busy.post("/token", &form).unwrap().status, 200);
        std::thread::sleep(Duration::from_millis(500));
    }
    let closed = until_closed(&mut busy);
    assert!(closed < Duration::from_secs(5), "{closed:?}");
}

#[test]
fn a_head_or_body_beyond_its_limit_is_refused() {
    let server = impatient().start();
    let mut connection = server.connect(None);
    connection
        .send(format!("{HEAD}X-Large: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(9000)).as_bytes())
        .unwrap();
    let answer = connection.receive().unwrap();
    assert_eq!((answer.status, answer.body.len()), (431, 0));

    let mut connection = server.connect(None);
    connection.send(format!("{HEAD}X-Large: {}\r\n", "x".repeat(200_000)).as_bytes()).ok();
    assert_eq!(connection.receive().map_or(431, |answer| answer.status), 431);

    let mut connection = server.connect(None);
    connection.send(format!("{HEAD}Content-Length: 10000000000\r\n\r\n").as_bytes()).unwrap();
    assert_eq!(connection.receive().unwrap().status, 413, "declared too large, and not a byte of it sent");
}

#[test]
fn half_a_handshake_keeps_nobody_out() {
    let server = impatient().start();
    let address = server.address(certbound::http::Kind::Mtls);
    let mut silent: Vec<_> = (0..400).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    let billing = server.setup.pki.client("billing.example.com");
    let began = Instant::now();
    assert_eq!(server.token("billing", Some(&billing)).status, 200);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let one = &mut silent[0];
    one.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(one.read(&mut [0; 16]).unwrap_or_default(), 0, "closed");
}

#[test]
fn slow_clients_hold_no_worker() {
    let server = impatient().start();
    let slow: Vec<_> = (0..100)
        .map(|_| {
            let mut connection = server.connect(None);
            connection.send(format!("{HEAD}Content-Length: 100\r\n\r\ngrant").as_bytes()).unwrap();
            connection
        })
        .collect();
    let billing = server.setup.pki.client("billing.example.com");
    let began = Instant::now();
    assert_eq!(server.token("billing", Some(&billing)).status, 200);
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    drop(slow);
}
