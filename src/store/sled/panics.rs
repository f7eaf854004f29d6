//! Where sled is called, a panic may come instead of an error: on damaged pages, and when it lets go of a database that
//! cannot be synced. Here it becomes one. Nothing is printed for it: what is wrong is said by who called, once and in our words.

use std::cell::Cell;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;
use std::thread;

use ::sled::Db;

/// What `work` gives, or nothing if it panicked.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    if !thread::panicking() {
        HOOK.call_once(|| {
            let others = take_hook();
            set_hook(Box::new(move |panic| {
                if !EXPECTED.get() {
                    others(panic);
                }
            }));
        });
    }
    let outside = EXPECTED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    EXPECTED.set(outside);
    outcome.ok()
}

static HOOK: Once = Once::new();

thread_local! {
    /// Whether a panic on this thread is caught by [`caught`].
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// A database that can be dropped anywhere: sled syncs it then, and panics if that fails. All that was acknowledged is on
/// disk by then.
pub(super) struct OpenDb(Option<Db>);

impl OpenDb {
    pub(super) const fn new(db: Db) -> Self {
        Self(Some(db))
    }
}

impl Deref for OpenDb {
    type Target = Db;

    fn deref(&self) -> &Db {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for OpenDb {
    fn drop(&mut self) {
        let db = self.0.take();
        let _ = caught(|| drop(db));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_nothing_and_work_that_ends_gives_what_it_gives() {
        assert_eq!(caught(|| 1), Some(1));
        assert_eq!(caught(|| caught(|| -> u8 { panic!("inside") })), Some(None));
        assert_eq!(caught(|| -> u8 { panic!("outside") }), None);
    }
}
