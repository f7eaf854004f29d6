//! Values that are replaced whole while requests are in flight: a reader keeps the snapshot it took,
//! so one request sees one world.

use std::sync::Arc;

use arc_swap::ArcSwap;

/// A value that is replaced whole. Readers keep the snapshot they took.
#[derive(Debug)]
pub struct Live<T>(ArcSwap<T>);

impl<T> Live<T> {
    /// Starts with `first`.
    pub fn new(first: T) -> Self {
        Self(ArcSwap::from_pointee(first))
    }

    /// The value of this moment.
    pub fn load(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Puts `next` in force and returns what was there, for the difference.
    pub fn replace(&self, next: T) -> Arc<T> {
        self.0.swap(Arc::new(next))
    }
}
