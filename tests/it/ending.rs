//! The end of a server fails nobody's request: it says so where load balancers look, lets those who are at work leave,
//! and hangs up on nobody whose request has arrived. (Under load, through a load balancer: `cluster`.)

use std::io::Write as _;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::client::receive;
use crate::support::program::Serving;
use crate::support::server::eventually;
use crate::support::{Connection, Response, Setup, Shown};

/// How long a server goes on answering after the signal.
const WIND_DOWN: Duration = Duration::from_millis(2500);

const TOKEN: [(&str, &str); 2] = [("grant_type", "client_credentials"), ("client_id", "billing")];

struct Place {
    setup: Setup,
    billing: Shown,
}

impl Place {
    fn new() -> Self {
        let setup = Setup::new();
        setup.config();
        let billing = setup.pki.client("billing.example.com");
        Self { setup, billing }
    }

    fn start(&self) -> Serving {
        Serving::start(self.setup.directory.path())
    }

    fn connect(&self, serving: &Serving) -> Connection {
        serving.connect(&self.setup, &self.billing)
    }

    /// A connection that is kept after its first answer.
    fn kept(&self, serving: &Serving) -> Connection {
        let mut connection = self.connect(serving);
        let answer = connection.post("/token", &TOKEN).unwrap();
        assert_eq!((answer.status, answer.header("connection")), (200, None));
        connection
    }
}

fn readiness(serving: &Serving) -> Response {
    let mut stream = TcpStream::connect(serving.address_of("admin")).unwrap();
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    receive(&mut stream, false).unwrap()
}

fn told_to_end(serving: &Serving) -> Instant {
    let told = Instant::now();
    serving.terminate();
    eventually("it says so", || readiness(serving).status == 503);
    told
}

#[test]
fn a_server_that_ends_says_so_and_lets_those_who_are_at_work_leave() {
    let place = Place::new();
    let mut serving = place.start();
    assert_eq!(readiness(&serving).json()["status"], "ready");
    let mut kept = place.kept(&serving);
    let told = told_to_end(&serving);
    let ready = readiness(&serving).json();
    assert_eq!(
        (&ready["status"], &ready["problems"][0]["what"]),
        (&"unready".into(), &"the server ends".into())
    );
    for mut connection in [place.connect(&serving), place.connect(&serving)] {
        let answer = connection.post("/token", &TOKEN).unwrap();
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "a new one is taken");
        assert!(connection.rest().is_empty(), "and closed");
    }
    let answer = kept.post("/token", &TOKEN).unwrap();
    assert_eq!(
        (answer.status, answer.header("connection")),
        (200, Some("close")),
        "whoever kept one is told"
    );
    assert_eq!(serving.ends(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
    assert!(TcpStream::connect(serving.address()).is_err());
}

#[test]
fn a_request_that_has_arrived_when_the_listeners_close_is_answered() {
    let place = Place::new();
    let mut serving = place.start();
    let mut kept: Vec<_> = (0..24).map(|_| place.kept(&serving)).collect();
    let told = told_to_end(&serving);
    let mut new = place.connect(&serving);
    // While it stands still the requests come, and the time of the end passes.
    serving.signal("STOP");
    for connection in &mut kept {
        connection.send(b"GET /jwks HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    }
    sleep((WIND_DOWN + Duration::from_millis(200)).saturating_sub(told.elapsed()));
    serving.signal("CONT");
    for connection in &mut kept {
        let answer = connection.receive().unwrap();
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    }
    eventually("nothing new is taken", || TcpStream::connect(serving.address()).is_err());
    assert_eq!(new.post("/token", &TOKEN).unwrap().status, 200, "what was made is used once");
    assert_eq!(serving.ends(), Some(0));
}

#[test]
fn an_end_is_not_held_up_by_those_who_are_silent_and_waits_for_nobody_where_nobody_is() {
    let place = Place::new();
    let mut serving = place.start();
    let mut silent = [place.kept(&serving), place.connect(&serving)];
    let told = told_to_end(&serving);
    assert_eq!(serving.ends(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(8), "{:?}", told.elapsed());
    assert!(silent.iter_mut().all(|connection| connection.rest().is_empty()));

    let mut serving = place.start();
    drop(place.kept(&serving));
    // Nobody has been there for longer than the server would wait for somebody.
    sleep(Duration::from_millis(1200));
    let told = Instant::now();
    serving.terminate();
    assert_eq!(serving.ends(), Some(0));
    assert!(told.elapsed() < WIND_DOWN, "{:?}", told.elapsed());
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    for second in ["TERM", "INT"] {
        let place = Place::new();
        let mut serving = place.start();
        let mut slow = place.kept(&serving);
        slow.send(b"POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\ngrant").unwrap();
        told_to_end(&serving);
        let told = Instant::now();
        serving.signal(second);
        assert_eq!(serving.ends(), Some(0));
        assert!(told.elapsed() < Duration::from_millis(1500), "{:?}", told.elapsed());
    }
}
