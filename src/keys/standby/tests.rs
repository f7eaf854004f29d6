use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const ES: SigningAlgorithm = SigningAlgorithm::Es256;
const ED: SigningAlgorithm = SigningAlgorithm::EdDsa;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(1_790_000_000 + seconds)
}

fn schedule(rotate_every: i64) -> Schedule {
    Schedule { algorithm: ES, rotate_every: Duration::from_secs(rotate_every.unsigned_abs()) }
}

fn id(name: &str) -> KeyId {
    KeyId::stored(name)
}

fn held(name: &str, algorithm: SigningAlgorithm, begin: i64) -> Held {
    Held { id: id(name), algorithm, signs_from: at(begin) }
}

fn plan(keys: &[(&str, i64)]) -> Plan {
    Plan::new(keys.iter().map(|(name, begin)| held(name, ES, *begin)).collect())
}

/// Several nodes' view of the same keys, and everything that was ever promised.
#[derive(Default)]
struct Nodes {
    keys: Vec<Held>,
    made: usize,
    /// When each key came into the published set.
    published: HashMap<KeyId, Timestamp>,
    last_signature: HashMap<KeyId, Timestamp>,
}

impl Nodes {
    fn plan(&self) -> Plan {
        Plan::new(self.keys.clone())
    }

    fn apply(&mut self, edit: Edit, algorithm: SigningAlgorithm, now: Timestamp) {
        match edit {
            Edit::Create { signs_from } => {
                self.made += 1;
                let key = Held { id: id(&format!("key {:04}", self.made)), algorithm, signs_from };
                self.published.insert(key.id.clone(), now);
                self.keys.push(key);
            }
            Edit::Begin { id, signs_from } => {
                self.keys.iter_mut().find(|key| key.id == id).expect("it is there").signs_from = signs_from;
            }
            Edit::Forget { id } => {
                if let Some(last) = self.last_signature.get(&id) {
                    assert!(last.plus(VERIFY_AFTER) < now, "{id} is forgotten while its tokens live");
                }
                self.keys.retain(|key| key.id != id);
            }
        }
    }

    /// Does everything there is to do; gives how many edits that took.
    fn tend(&mut self, schedule: &Schedule, now: Timestamp) -> usize {
        for edits in 0.. {
            assert!(edits < 20, "it comes to no end: {:?}", self.keys);
            let Some(edit) = self.plan().next_edit(schedule, now) else { return edits };
            self.apply(edit, schedule.algorithm, now);
        }
        0
    }

    fn sign(&mut self, now: Timestamp) -> KeyId {
        let signer = self.plan().signer(now).expect("there is always a signer").0.id.clone();
        self.last_signature.insert(signer.clone(), now);
        signer
    }
}

#[test]
fn the_first_key_signs_at_once_and_has_a_standby() {
    let mut nodes = Nodes::default();
    assert_eq!(nodes.tend(&schedule(30 * DAY), at(0)), 2);
    assert_eq!(nodes.keys[0].signs_from, at(0));
    assert_eq!(nodes.keys[1].signs_from, at(30 * DAY));
    assert_eq!(nodes.tend(&schedule(30 * DAY), at(1)), 0);
}

#[test]
fn a_standby_is_published_for_a_whole_period_and_made_when_the_one_before_begins() {
    let (mut nodes, schedule) = (Nodes::default(), schedule(DAY));
    let mut signers = Vec::new();
    for minute in 0..20 * 24 * 60 {
        let now = at(minute * MINUTE);
        nodes.tend(&schedule, now);
        assert!(nodes.plan().standby(now).is_some());
        let signer = nodes.sign(now);
        if signers.last() != Some(&signer) {
            signers.push(signer);
        }
    }
    assert_eq!(signers.len(), 20);
    for (index, key) in signers.iter().enumerate().skip(1) {
        let begin = at(i64::try_from(index).unwrap() * DAY);
        assert_eq!(begin.since(nodes.published[key]), Duration::from_secs(DAY.unsigned_abs()), "{key}");
    }
    assert!(nodes.keys.len() <= 4, "{:?}", nodes.keys);
}

#[test]
fn a_rotation_that_was_asked_for_brings_the_standby_forward_and_is_not_moved_back() {
    let keys = plan(&[("a", 0), ("b", 30 * DAY)]);
    let edit = keys.rotation(Begin::Published, at(HOUR)).unwrap();
    assert_eq!(edit, Edit::Begin { id: id("b"), signs_from: at(HOUR + 15 * MINUTE) });
    let keys = plan(&[("a", 0), ("b", HOUR + 15 * MINUTE)]);
    assert_eq!(keys.next_edit(&schedule(30 * DAY), at(HOUR)), None);
    assert_eq!(keys.rotation(Begin::Published, at(HOUR)), None, "asked for twice");
    let edit = keys.rotation(Begin::Now, at(HOUR)).unwrap();
    assert_eq!(edit, Edit::Begin { id: id("b"), signs_from: at(HOUR) });
}

#[test]
fn one_second_has_one_signer() {
    let keys = plan(&[("a", 0), ("b", HOUR), ("c", 30 * DAY)]);
    let edit = keys.rotation(Begin::Now, at(HOUR)).unwrap();
    assert_eq!(edit, Edit::Begin { id: id("c"), signs_from: at(HOUR + 1) });
}

#[test]
fn the_removal_of_the_signer_has_the_standby_begin_and_that_of_another_key_changes_nothing() {
    let keys = plan(&[("a", 0), ("b", 30 * DAY)]);
    assert_eq!(keys.relief(&id("a"), at(HOUR)).unwrap(), Edit::Begin { id: id("b"), signs_from: at(HOUR) });
    assert_eq!(keys.relief(&id("b"), at(HOUR)), None);
    assert_eq!(keys.relief(&id("c"), at(HOUR)), None);
    assert_eq!(plan(&[("a", 0)]).relief(&id("a"), at(HOUR)), Some(Edit::Create { signs_from: at(HOUR) }));
    // The removed key began this very second, and its successor may too.
    assert_eq!(
        plan(&[("a", 0), ("b", DAY)]).relief(&id("a"), at(0)),
        Some(Edit::Begin { id: id("b"), signs_from: at(0) })
    );
}

#[test]
fn a_shorter_period_and_a_begin_in_the_far_future_bring_the_standby_forward() {
    let keys = plan(&[("a", 0), ("b", 30 * DAY)]);
    let edit = keys.next_edit(&schedule(DAY), at(HOUR)).unwrap();
    assert_eq!(edit, Edit::Begin { id: id("b"), signs_from: at(DAY) });
    let edit = keys.next_edit(&schedule(HOUR), at(2 * HOUR)).unwrap();
    assert_eq!(edit, Edit::Begin { id: id("b"), signs_from: at(2 * HOUR + 15 * MINUTE) }, "published first");
    assert_eq!(
        keys.next_edit(&schedule(60 * DAY), at(HOUR)),
        None,
        "a longer one counts from the next key on"
    );
}

#[test]
fn another_algorithm_is_a_rotation_with_a_key_that_is_published_first() {
    let mut nodes = Nodes::default();
    let es = schedule(30 * DAY);
    let ed = Schedule { algorithm: ED, ..es.clone() };
    nodes.tend(&es, at(0));
    nodes.tend(&ed, at(HOUR));
    let standby = nodes.plan().standby(at(HOUR)).unwrap().clone();
    assert_eq!((standby.algorithm, standby.signs_from), (ED, at(HOUR + 15 * MINUTE)));
    assert_eq!(nodes.keys.len(), 2, "the standby that would never sign is gone");
    // A node that still has the old configuration does not undo it every second.
    assert_eq!(nodes.tend(&es, at(HOUR + 1)), 0);
    nodes.tend(&ed, at(HOUR + 15 * MINUTE));
    assert_eq!(nodes.plan().signer(at(HOUR + 15 * MINUTE)).unwrap().0.algorithm, ED);
}

#[test]
fn keys_are_forgotten_a_day_after_the_next_one_began() {
    let keys = plan(&[("a", 0), ("b", DAY), ("c", 30 * DAY)]);
    assert_eq!(keys.next_edit(&schedule(30 * DAY), at(2 * DAY)), None);
    let edit = keys.next_edit(&schedule(30 * DAY), at(2 * DAY + 1)).unwrap();
    assert_eq!(edit, Edit::Forget { id: id("a") });
}

proptest! {
    /// Whatever operators do and when: there is a signer and a standby, no key signs before it was published, and
    /// no key is forgotten while a token of it lives (asserted in `apply`).
    #[test]
    fn no_key_signs_unpublished_and_none_goes_too_early(
        acts in proptest::collection::vec((0_u8..4, 1_i64..3 * HOUR), 1..80),
        every in HOUR..3 * DAY,
    ) {
        let (mut nodes, schedule) = (Nodes::default(), schedule(every));
        let mut now = at(0);
        nodes.tend(&schedule, now);
        for (act, wait) in acts {
            now = now.plus(Duration::from_secs(wait.unsigned_abs()));
            nodes.tend(&schedule, now);
            // `shared.rs` waits until every node has the standby.
            now = now.plus(SECOND);
            let plan = nodes.plan();
            let edit = match act {
                0 => plan.rotation(Begin::Now, now),
                1 => plan.rotation(Begin::Published, now),
                2 => {
                    let signer = plan.signer(now).expect("a signer").0.id.clone();
                    let edit = plan.relief(&signer, now);
                    nodes.keys.retain(|key| key.id != signer);
                    edit
                }
                _ => None,
            };
            // The standby began this very second. Only where it is removed a key signs that nobody knows yet.
            let late = match &edit {
                Some(Edit::Create { signs_from }) => Some(*signs_from),
                _ => None,
            };
            let is_last_resort = act == 2 && late.is_some();
            prop_assert!(is_last_resort || late.is_none_or(|at| at >= now.plus(PUBLISH_BEFORE)));
            if let Some(edit) = edit {
                nodes.apply(edit, ES, now);
            }
            nodes.tend(&schedule, now);
            let signer = nodes.sign(now);
            if nodes.made > 2 && !is_last_resort {
                prop_assert!(nodes.published[&signer] < now, "{signer} signs as soon as it is made");
            }
            prop_assert!(nodes.plan().standby(now).is_some());
        }
    }
}
