use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const START: i64 = 1_790_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(START + seconds)
}

fn schedule(rotate_every: i64) -> Schedule {
    Schedule {
        algorithm: SigningAlgorithm::EdDsa,
        rotate_every: Duration::from_secs(rotate_every.unsigned_abs()),
    }
}

fn keys(begins: &[i64]) -> SigningKeys {
    SigningKeys::new(
        begins.iter().map(|&begin| SigningKey::fresh(SigningAlgorithm::EdDsa, at(begin))).collect(),
    )
}

/// A server that lives by the minute and remembers what it promised.
struct Server {
    keys: SigningKeys,
    schedule: Schedule,
    /// When each key was first in the published set, and whether it had to wait before it signed.
    published: HashMap<KeyId, (Timestamp, Begin)>,
    last_signature: HashMap<KeyId, Timestamp>,
    most_files: usize,
}

impl Server {
    fn new(schedule: Schedule) -> Self {
        Self {
            keys: SigningKeys::default(),
            schedule,
            published: HashMap::new(),
            last_signature: HashMap::new(),
            most_files: 0,
        }
    }

    fn add(&mut self, signs_from: Timestamp, begin: Begin, now: Timestamp) {
        let key = Arc::new(SigningKey::fresh(self.schedule.algorithm, signs_from));
        self.published.insert(key.id().clone(), (now, begin));
        let mut keys = self.keys.all().to_vec();
        keys.push(key);
        self.keys = SigningKeys::of(keys);
        self.most_files = self.most_files.max(self.keys.all().len());
    }

    fn ask(&mut self, begin: Begin, now: Timestamp) {
        self.add(begin.signs_from(&self.keys, now), begin, now);
    }

    fn tick(&mut self, now: Timestamp) -> Step {
        let step = next_step(&self.keys, &self.schedule, now);
        match &step {
            Step::Create { signs_from } => {
                let begin = if self.keys.is_empty() { Begin::Now } else { Begin::Published };
                self.add(*signs_from, begin, now);
            }
            Step::Forget { id } => {
                let rest = self.keys.all().iter().filter(|key| key.id() != id).cloned().collect();
                self.keys = SigningKeys::of(rest);
            }
            Step::Wait { until } => assert!(*until > now, "waiting for the past would spin"),
        }
        step
    }

    /// Signs a token that lives as long as any may, and checks every token that is still alive.
    fn serve(&mut self, now: Timestamp) {
        let signer = self.keys.signer(now).expect("there is a signer at every moment");
        let (published, begin) = self.published[signer.id()];
        if begin == Begin::Published {
            assert!(signer.signs_from() <= now, "a key signs before its time");
            assert!(
                now.since(published) >= PUBLISH_BEFORE,
                "a key signs before it was published long enough"
            );
        }
        self.last_signature.insert(signer.id().clone(), now);
        self.last_signature.retain(|_, signed| now.since(*signed) <= VERIFY_AFTER);
        for id in self.last_signature.keys() {
            assert!(self.keys.verifier(id.as_str(), now).is_some(), "a living token cannot be verified");
        }
        if now.as_unix() % HOUR < MINUTE {
            let document = self.keys.published(now).to_string();
            let is_published = |id: &KeyId| document.contains(id.as_str());
            assert!(
                self.last_signature.keys().all(is_published),
                "the key of a living token is not published"
            );
        }
    }
}

fn live(rotate_every: i64, minutes: i64) -> Server {
    let mut server = Server::new(schedule(rotate_every));
    for minute in 0..minutes {
        server.tick(at(minute * MINUTE));
        server.serve(at(minute * MINUTE));
    }
    server
}

#[test]
fn in_a_year_no_token_is_ever_unverifiable_and_no_key_early() {
    let server = live(30 * DAY, 365 * DAY / MINUTE);
    assert_eq!(server.published.len(), 13, "the first key and one for every month that began");
    assert!(server.most_files <= 2, "{}", server.most_files);
}

#[test]
fn keys_of_an_hour_are_as_safe_and_do_not_pile_up() {
    let server = live(HOUR, 10 * DAY / MINUTE);
    assert!((240..=242).contains(&server.published.len()), "{}", server.published.len());
    assert!(server.most_files <= 28, "{}", server.most_files);
}

#[test]
fn the_first_key_signs_at_once() {
    assert_eq!(next_step(&SigningKeys::default(), &schedule(DAY), at(7)), Step::Create { signs_from: at(7) });
    assert_eq!(Begin::Published.signs_from(&SigningKeys::default(), at(7)), at(7));
    assert_eq!(Begin::Published.signs_from(&keys(&[0]), at(7)), at(7).plus(PUBLISH_BEFORE));
    assert_eq!(Begin::Now.signs_from(&keys(&[0]), at(7)), at(7));
}

#[test]
fn every_node_finds_the_same_begin_within_a_quarter_of_an_hour() {
    let keys = keys(&[0]);
    let opens = 30 * DAY - 30 * MINUTE;
    assert_eq!(next_step(&keys, &schedule(30 * DAY), at(opens - 1)), Step::Wait { until: at(opens) });
    for now in opens..=opens + 15 * MINUTE {
        assert_eq!(next_step(&keys, &schedule(30 * DAY), at(now)), Step::Create { signs_from: at(30 * DAY) });
    }
}

#[test]
fn a_server_that_was_away_publishes_before_it_signs() {
    let now = at(90 * DAY);
    assert_eq!(
        next_step(&keys(&[0]), &schedule(30 * DAY), now),
        Step::Create { signs_from: now.plus(PUBLISH_BEFORE) }
    );
}

#[test]
fn a_changed_algorithm_is_a_rotation_and_only_one() {
    let mut server = Server::new(schedule(30 * DAY));
    server.tick(at(0));
    server.schedule.algorithm = SigningAlgorithm::Es256;
    assert_eq!(server.tick(at(DAY)), Step::Create { signs_from: at(DAY).plus(PUBLISH_BEFORE) });
    for second in 1..=20 * MINUTE {
        assert!(matches!(server.tick(at(DAY + second)), Step::Wait { .. }), "at {second}");
    }
    let signer = server.keys.signer(at(DAY + 20 * MINUTE)).unwrap();
    assert_eq!(signer.algorithm(), SigningAlgorithm::Es256);
}

#[test]
fn an_expired_key_is_forgotten_and_the_only_one_never() {
    let two = keys(&[0, 100]);
    let expired = 100 + DAY;
    assert_eq!(next_step(&two, &schedule(30 * DAY), at(expired)), Step::Wait { until: at(expired + 1) });
    let id = two.all()[0].id().clone();
    assert!(two.verifier(id.as_str(), at(expired)).is_some());
    assert_eq!(next_step(&two, &schedule(30 * DAY), at(expired + 1)), Step::Forget { id });

    let old = next_step(&keys(&[0]), &schedule(30 * DAY), at(3000 * DAY));
    assert!(matches!(old, Step::Create { .. }), "{old:?}");
}

#[test]
fn a_key_from_the_far_future_does_not_hold_up_rotation() {
    let keys = keys(&[0, 9000 * DAY]);
    assert_eq!(
        next_step(&keys, &schedule(30 * DAY), at(30 * DAY - MINUTE)),
        Step::Create { signs_from: at(30 * DAY + 14 * MINUTE) }
    );
}

#[test]
fn a_clock_that_goes_back_neither_stops_signing_nor_makes_keys_without_end() {
    let mut server = live(30 * DAY, 60);
    server.last_signature.clear();
    for minute in 0..60 {
        server.tick(at(-DAY + minute * MINUTE));
        assert!(server.keys.signer(at(-DAY + minute * MINUTE)).is_ok());
    }
    assert_eq!(server.keys.all().len(), 1);
}

#[derive(Clone, Debug)]
enum Event {
    Rotate(Begin),
    ChangeAlgorithm,
    NoTicksFor(i64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Rotate(Begin::Now)),
        Just(Event::Rotate(Begin::Published)),
        Just(Event::ChangeAlgorithm),
        (1..3000_i64).prop_map(Event::NoTicksFor),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn whatever_is_asked_for_no_token_is_ever_unverifiable(
        rotate_every in 1..5 * DAY,
        events in proptest::collection::btree_map(1..7 * DAY / MINUTE, event(), 0..12),
    ) {
        let mut server = Server::new(schedule(rotate_every.max(HOUR)));
        let mut silent_until = 0;
        for minute in 0..9 * DAY / MINUTE {
            let now = at(minute * MINUTE);
            match events.get(&minute) {
                Some(Event::Rotate(begin)) => server.ask(*begin, now),
                Some(Event::NoTicksFor(minutes)) => silent_until = minute + minutes,
                Some(Event::ChangeAlgorithm) => {
                    let before = server.schedule.algorithm;
                    let other = if before == SigningAlgorithm::EdDsa { SigningAlgorithm::Es256 } else { SigningAlgorithm::EdDsa };
                    server.schedule.algorithm = other;
                }
                None => {}
            }
            if minute >= silent_until {
                server.tick(now);
            }
            server.serve(now);
        }
        prop_assert!(server.most_files <= 64, "{} files", server.most_files);
    }
}
