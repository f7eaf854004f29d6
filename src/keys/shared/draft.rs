//! What one transaction does to the shared keys: a pure function of the rows, the wish and the time.

use std::sync::Arc;
use std::time::Duration;

use super::super::standby::{Edit, Held, Plan};
use super::super::{Begin, KeyFileError, KeyId, PUBLISH_BEFORE, Schedule, SigningAlgorithm};
use super::{IMPORTED, fault};
use crate::clock::Timestamp;

const SECOND: Duration = Duration::from_secs(1);

/// More edits than one transaction ever needs.
const MOST_EDITS: usize = 100;

/// What somebody wants done, besides what the schedule does.
#[derive(Clone, Debug)]
pub(super) enum Wish {
    /// Nothing more.
    Tend,
    /// The standby begins.
    Rotate(Begin),
    /// A key from elsewhere comes in.
    Import(Arc<NewKey>),
    /// A key ends.
    Revoke(KeyId),
}

/// A key that is not in the database yet, sealed.
#[derive(Debug)]
pub(super) struct NewKey {
    pub(super) id: KeyId,
    pub(super) algorithm: SigningAlgorithm,
    pub(super) sealed: Vec<u8>,
}

/// A row, as far as it can be read without opening it.
#[derive(Clone, Debug)]
pub(super) struct StoredKey {
    pub(super) id: KeyId,
    /// `None` for one of a newer version.
    pub(super) algorithm: Option<SigningAlgorithm>,
    pub(super) signs_from: Timestamp,
    pub(super) is_removed: bool,
}

/// Why a transaction is not made.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Stop {
    /// A new key is needed: it is to be made outside.
    Lacks,
    /// What the schedule wants done has to be done first, in a transaction of its own: the key that would begin is in
    /// no set yet.
    Untended,
    /// These nodes do not have every key yet; a key that not all publish must not begin at once.
    Behind(Vec<String>),
    /// There is no such key.
    Unknown,
    /// It may not be.
    Refused(KeyFileError),
}

/// Whether a key that begins at once may wait until every node has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Patience {
    Left,
    /// Whoever removes a key does not wait for ever: a key that others have is worse than one that not all have.
    AtItsEnd,
}

/// One change to a row.
#[derive(Clone, Debug)]
pub(super) enum Statement {
    Insert(Arc<NewKey>, Timestamp),
    Begin(KeyId, Timestamp),
    Remove(KeyId),
    Forget(KeyId),
}

/// The rows as they will be.
pub(super) struct Draft {
    rows: Vec<StoredKey>,
    spare: Vec<Arc<NewKey>>,
    behind: Vec<String>,
    patience: Patience,
    now: Timestamp,
    statements: Vec<Statement>,
}

impl Draft {
    /// `spare` are keys that may be used up; `behind` the live nodes that have not taken in the last change.
    pub(super) fn new(
        rows: Vec<StoredKey>,
        spare: Vec<Arc<NewKey>>,
        (behind, patience): (Vec<String>, Patience),
        now: Timestamp,
    ) -> Self {
        Self { rows, spare, behind, patience, now, statements: Vec::new() }
    }

    /// What has to be written, in this order.
    pub(super) fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// Plans the wish and whatever the schedule wants after it; gives the key that the wish is about.
    pub(super) fn fulfil(&mut self, wish: &Wish, schedule: &Schedule) -> Result<Option<KeyId>, Stop> {
        let about = match wish {
            Wish::Tend => None,
            Wish::Rotate(begin) => {
                self.tend(schedule)?;
                Some(self.rotate(*begin)?)
            }
            Wish::Import(key) => Some(self.import(key)?),
            Wish::Revoke(id) => Some(self.revoke(id)?),
        };
        self.tend(schedule)?;
        Ok(about)
    }

    fn tend(&mut self, schedule: &Schedule) -> Result<(), Stop> {
        for _ in 0..MOST_EDITS {
            let Some(edit) = self.plan().next_edit(schedule, self.now) else { break };
            self.apply(edit)?;
        }
        Ok(())
    }

    fn rotate(&mut self, begin: Begin) -> Result<KeyId, Stop> {
        let plan = self.plan();
        if begin == Begin::Now {
            self.is_everywhere()?;
        }
        match plan.rotation(begin, self.now) {
            Some(edit) => self.apply(edit),
            None => plan.standby(self.now).map(|standby| standby.id.clone()).ok_or(Stop::Unknown),
        }
    }

    fn import(&mut self, key: &Arc<NewKey>) -> Result<KeyId, Stop> {
        let refused = |what, instead| Err(Stop::Refused(fault(IMPORTED, what, instead)));
        match self.rows.iter().find(|row| row.id == key.id) {
            Some(row) if row.is_removed => {
                return refused("this key was revoked", "make a new one: certbound keys rotate");
            }
            Some(_) => {
                return refused(
                    "this key is in the database already",
                    "to have another sign earlier: certbound keys rotate",
                );
            }
            None => {}
        }
        // The first key signs at once in any case.
        let is_first = self.rows.iter().all(|row| row.is_removed);
        let begin = if is_first { self.now } else { self.now.plus(PUBLISH_BEFORE) };
        self.insert(Arc::clone(key), begin);
        Ok(key.id.clone())
    }

    fn revoke(&mut self, id: &KeyId) -> Result<KeyId, Stop> {
        let row = self.rows.iter().find(|row| row.id == *id).ok_or(Stop::Unknown)?;
        if row.is_removed {
            return Ok(id.clone());
        }
        let relief = self.plan().relief(id, self.now);
        match relief {
            Some(Edit::Create { .. }) if self.patience == Patience::Left => return Err(Stop::Untended),
            Some(_) => self.is_everywhere()?,
            None => {}
        }
        if let Some(row) = self.rows.iter_mut().find(|row| row.id == *id) {
            row.is_removed = true;
        }
        self.statements.push(Statement::Remove(id.clone()));
        relief.map_or(Ok(()), |edit| self.apply(edit).map(drop))?;
        Ok(id.clone())
    }

    /// Whether every live node has every key.
    fn is_everywhere(&self) -> Result<(), Stop> {
        if self.patience == Patience::AtItsEnd {
            return Ok(());
        }
        if !self.statements.is_empty() {
            return Err(Stop::Untended);
        }
        if self.behind.is_empty() { Ok(()) } else { Err(Stop::Behind(self.behind.clone())) }
    }

    /// Gives the key that the edit is about.
    fn apply(&mut self, edit: Edit) -> Result<KeyId, Stop> {
        match edit {
            Edit::Create { signs_from } => {
                let key = self.spare.pop().ok_or(Stop::Lacks)?;
                let id = key.id.clone();
                self.insert(key, signs_from);
                Ok(id)
            }
            Edit::Begin { id, signs_from } => {
                let at = self.free_second(signs_from, &id);
                let row = self.rows.iter_mut().find(|row| row.id == id).ok_or(Stop::Unknown)?;
                row.signs_from = at;
                self.statements.push(Statement::Begin(id.clone(), at));
                Ok(id)
            }
            Edit::Forget { id } => {
                self.rows.retain(|row| row.id != id);
                self.statements.push(Statement::Forget(id.clone()));
                Ok(id)
            }
        }
    }

    fn insert(&mut self, key: Arc<NewKey>, signs_from: Timestamp) {
        let (id, algorithm) = (key.id.clone(), Some(key.algorithm));
        let signs_from = self.free_second(signs_from, &id);
        self.rows.push(StoredKey { id, algorithm, signs_from, is_removed: false });
        self.statements.push(Statement::Insert(key, signs_from));
    }

    /// The first second from `wanted` on that no other row has, removed or not: it is unique in the table.
    fn free_second(&self, wanted: Timestamp, own: &KeyId) -> Timestamp {
        let mut at = wanted;
        while self.rows.iter().any(|row| row.signs_from == at && row.id != *own) {
            at = at.plus(SECOND);
        }
        at
    }

    fn plan(&self) -> Plan {
        let here = self.rows.iter().filter(|row| !row.is_removed);
        let held = here.filter_map(|row| {
            Some(Held { id: row.id.clone(), algorithm: row.algorithm?, signs_from: row.signs_from })
        });
        Plan::new(held.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(1_790_000_000 + seconds)
    }

    fn schedule() -> Schedule {
        Schedule { algorithm: SigningAlgorithm::Es256, rotate_every: Duration::from_secs(30 * 86_400) }
    }

    fn new_key(name: &str) -> Arc<NewKey> {
        let algorithm = SigningAlgorithm::Es256;
        Arc::new(NewKey { id: KeyId::stored(name), algorithm, sealed: Vec::new() })
    }

    fn row(name: &str, begin: i64) -> StoredKey {
        let algorithm = Some(SigningAlgorithm::Es256);
        StoredKey { id: KeyId::stored(name), algorithm, signs_from: at(begin), is_removed: false }
    }

    fn draft(rows: &[StoredKey], spare: &[&str], behind: &[&str]) -> Draft {
        let behind = behind.iter().map(|&name| name.to_owned()).collect();
        let spare = spare.iter().map(|name| new_key(name)).collect();
        Draft::new(rows.to_vec(), spare, (behind, Patience::Left), at(DAY))
    }

    /// The keys that count, with their begins.
    fn keys(draft: &Draft) -> Vec<(&str, i64)> {
        let here = draft.rows.iter().filter(|row| !row.is_removed);
        here.map(|row| (row.id.as_str(), row.signs_from.as_unix() - at(0).as_unix())).collect()
    }

    #[test]
    fn new_keys_are_asked_for_before_anything_is_written() {
        let mut empty = draft(&[], &["a"], &[]);
        assert_eq!(empty.fulfil(&Wish::Tend, &schedule()), Err(Stop::Lacks), "signer and standby");
        let mut empty = draft(&[], &["b", "a"], &[]);
        assert_eq!(empty.fulfil(&Wish::Tend, &schedule()), Ok(None));
        assert_eq!(keys(&empty), [("a", DAY), ("b", 31 * DAY)]);
    }

    #[test]
    fn a_removed_signer_is_relieved_by_the_standby_in_the_same_transaction() {
        let rows = [row("a", 0), row("b", 30 * DAY)];
        let mut draft = draft(&rows, &["c"], &[]);
        let revoked = draft.fulfil(&Wish::Revoke(KeyId::stored("a")), &schedule());
        assert_eq!(revoked, Ok(Some(KeyId::stored("a"))));
        assert_eq!(keys(&draft), [("b", DAY), ("c", 31 * DAY)]);
    }

    #[test]
    fn no_key_begins_at_once_that_not_every_node_has() {
        let rows = [row("a", 0), row("b", 30 * DAY)];
        let behind = Err(Stop::Behind(vec!["n1".to_owned()]));
        let revoke = |id| Wish::Revoke(KeyId::stored(id));
        assert_eq!(draft(&rows, &["c"], &["n1"]).fulfil(&revoke("a"), &schedule()), behind);
        assert_eq!(draft(&rows, &["c"], &["n1"]).fulfil(&Wish::Rotate(Begin::Now), &schedule()), behind);
        // A standby that is made in this very transaction is nowhere yet.
        let only = [row("a", 0)];
        let untended = Err(Stop::Untended);
        assert_eq!(draft(&only, &["c"], &[]).fulfil(&Wish::Rotate(Begin::Now), &schedule()), untended);
        assert_eq!(draft(&only, &["c"], &[]).fulfil(&revoke("a"), &schedule()), untended);
        // But a stolen key goes at last, whoever lacks the next.
        let mut urgent = draft(&rows, &["c"], &["n1"]);
        urgent.patience = Patience::AtItsEnd;
        assert!(urgent.fulfil(&revoke("a"), &schedule()).is_ok());
        // What does not begin at once does not wait.
        assert!(draft(&rows, &["c"], &["n1"]).fulfil(&Wish::Rotate(Begin::Published), &schedule()).is_ok());
        assert!(draft(&rows, &["c"], &["n1"]).fulfil(&revoke("b"), &schedule()).is_ok());
    }

    #[test]
    fn a_revoked_key_comes_back_by_no_import_and_a_present_one_is_not_imported_twice() {
        let mut rows = [row("a", 0), row("b", 30 * DAY)];
        rows[0].is_removed = true;
        for name in ["a", "b"] {
            let refused = draft(&rows, &["c"], &[]).fulfil(&Wish::Import(new_key(name)), &schedule());
            assert!(matches!(refused, Err(Stop::Refused(_))), "{name}");
        }
        let mut taken = draft(&rows, &[], &[]);
        taken.fulfil(&Wish::Import(new_key("d")), &schedule()).unwrap();
        assert_eq!(keys(&taken), [("b", 30 * DAY), ("d", DAY + 900)]);
    }

    #[test]
    fn the_second_of_a_removed_key_is_not_given_again() {
        let rows = [row("a", DAY), row("b", 30 * DAY)];
        let mut draft = draft(&rows, &["c"], &[]);
        draft.fulfil(&Wish::Revoke(KeyId::stored("a")), &schedule()).unwrap();
        assert_eq!(keys(&draft)[0], ("b", DAY + 1));
    }

    #[test]
    fn revoking_twice_and_revoking_the_unknown_change_nothing() {
        let mut rows = [row("a", 0), row("b", 10), row("c", 30 * DAY)];
        rows[0].is_removed = true;
        let mut twice = draft(&rows, &[], &[]);
        assert!(twice.fulfil(&Wish::Revoke(KeyId::stored("a")), &schedule()).is_ok());
        assert!(twice.statements().is_empty());
        let unknown = draft(&rows, &[], &[]).fulfil(&Wish::Revoke(KeyId::stored("x")), &schedule());
        assert_eq!(unknown, Err(Stop::Unknown));
    }
}
