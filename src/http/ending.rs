//! The end of a server, such that nobody's request fails of it (RFC 9112 §9.6).
//!
//! A load balancer sends connections until its next look at `/readyz`, and a client sends requests on the connection that it
//! keeps. So an end has two parts. From [`Ending::begin`] on, `/readyz` says `unready` and every answer carries
//! `Connection: close`, while everything is still taken and answered: those who are at work here leave by themselves. Then
//! the listeners close, and [`Farewell`] ends the connections that are left, each only once nothing has come on it that
//! nobody has answered. Who waits how long between the two is the business of `app.rs`.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Whether the server is at its end, and who is still there.
#[derive(Debug)]
pub struct Ending {
    begun: AtomicBool,
    guests: Mutex<Guests>,
}

#[derive(Debug)]
struct Guests {
    here: usize,
    /// When the last one came or left.
    moved: Instant,
}

impl Default for Ending {
    fn default() -> Self {
        let guests = Guests { here: 0, moved: Instant::now() };
        Self { begun: AtomicBool::new(false), guests: Mutex::new(guests) }
    }
}

impl Ending {
    /// From here on no connection is kept beyond its next answer.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    /// Whether the end has begun.
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// Whether no connection is open and none has come for this long.
    pub fn is_quiet(&self, for_long: Duration) -> bool {
        let guests = self.guests();
        guests.here == 0 && guests.moved.elapsed() >= for_long
    }

    /// A connection has been accepted. It becomes a [`Guest`] once its handshake is over, which takes no longer than one
    /// is quiet for.
    pub(super) fn knock(&self) {
        self.guests().moved = Instant::now();
    }

    /// A connection is open until the guest is dropped.
    pub(super) fn enter(self: &Arc<Self>) -> Guest {
        self.guests().here += 1;
        Guest(Arc::clone(self))
    }

    fn guests(&self) -> std::sync::MutexGuard<'_, Guests> {
        // Two numbers, both right after every statement: a panic elsewhere does no harm.
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open connection, for as long as it lives.
#[derive(Debug)]
pub struct Guest(Arc<Ending>);

impl Drop for Guest {
    fn drop(&mut self) {
        let mut guests = self.0.guests();
        guests.here -= 1;
        guests.moved = Instant::now();
    }
}

/// What one connection knows of the end.
pub struct Farewell {
    /// Ready when the listeners close.
    closing: Option<Pin<Box<dyn Future<Output = ()>>>>,
    _guest: Option<Guest>,
}

impl Farewell {
    /// For a connection of a server whose listeners close when `closing` is ready; a guest is waited for until then.
    pub fn new(closing: impl Future<Output = ()> + 'static, guest: Option<Guest>) -> Self {
        Self { closing: Some(Box::pin(closing)), _guest: guest }
    }

    /// Whether the listeners have closed; else the task is woken when they do.
    pub(super) fn poll_closed(&mut self, context: &mut Context<'_>) -> bool {
        let Some(closing) = &mut self.closing else { return true };
        if closing.as_mut().poll(context) == Poll::Pending {
            return false;
        }
        self.closing = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_quiet_when_nobody_is_there_and_nobody_has_come_for_a_while() {
        let (ending, a_while) = (Arc::new(Ending::default()), Duration::from_secs(3600));
        assert!(ending.is_quiet(Duration::ZERO) && !ending.is_quiet(a_while), "somebody may be on the way");
        let (one, other) = (ending.enter(), ending.enter());
        drop(one);
        assert!(!ending.is_quiet(Duration::ZERO), "one is still there");
        drop(other);
        assert!(ending.is_quiet(Duration::ZERO) && !ending.is_quiet(a_while));
    }
}
