//! A connection that may not dawdle.
//!
//! The HTTP library times the first request head of a connection and no later one, so a stranger could hold a
//! connection with half a request for ever. [`Timed`] lies between TLS and HTTP: while no request is being answered,
//! the first byte of the next one starts the head's clock, and silence the idle clock. A peer that takes nothing of its
//! answers is silent too. A body has its own limit where it is read (`extract.rs`).
//!
//! At the end of the server (`ending.rs`) a connection on which nothing has come ends as if the peer had hung up. The HTTP
//! library's own way would drop a request that has arrived and is not read yet, and every connection that has just been
//! made.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::Kind;
use super::ending::Farewell;
use crate::authn::Presented;

/// How long a peer may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the first byte of a request head to its last.
    pub head: Duration,
    /// Between requests, and between two bits of an answer that is taken.
    pub idle: Duration,
}

/// What is known of a connection; the same for every request on it.
#[derive(Clone)]
pub struct Peer {
    /// The certificate of the handshake: the client's, or on a `forwarded` listener the proxy's.
    pub presented: Presented,
    /// Set while a request is being answered.
    pub in_flight: InFlight,
}

/// Bounds on what a stranger may send on one listener, and what the listener is.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// What the listener is for.
    pub kind: Kind,
    /// The largest head, in bytes.
    pub head: usize,
    /// How long a head may take, and the handshake before it.
    pub head_timeout: Duration,
    /// How long a connection may be silent.
    pub idle: Duration,
}

impl Bounds {
    pub(super) fn patience(self) -> Patience {
        Patience { head: self.head_timeout, idle: self.idle }
    }
}

/// Whether a request is being answered on a connection; shared between the stream and the requests on it.
#[derive(Clone, Debug, Default)]
pub struct InFlight(Arc<Requests>);

#[derive(Debug, Default)]
struct Requests {
    answering: AtomicBool,
    /// How many have come in. A request may begin and end between two looks at `answering`.
    begun: AtomicU32,
}

/// Held while a request is being answered.
#[derive(Debug)]
pub struct Answering(InFlight);

impl InFlight {
    /// A request has come in whole.
    pub fn begin(&self) -> Answering {
        self.0.answering.store(true, Ordering::Relaxed);
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Answering(self.clone())
    }

    fn is_answering(&self) -> bool {
        self.0.answering.load(Ordering::Relaxed)
    }

    fn begun(&self) -> u32 {
        self.0.begun.load(Ordering::Relaxed)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.answering.store(false, Ordering::Relaxed);
    }
}

/// A stream that fails once the peer has taken too long.
pub struct Timed<S> {
    stream: S,
    in_flight: InFlight,
    patience: Patience,
    waiting: Waiting,
    begun: u32,
    alarm: Pin<Box<Sleep>>,
    /// Runs while the peer takes nothing of what there is to write.
    stalled: Option<Pin<Box<Sleep>>>,
    farewell: Farewell,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Waiting {
    /// A request is being answered; its handler has the clock.
    No,
    /// For the first byte of the first request: a connection is made to be used.
    ForFirst,
    /// For the first byte of a request.
    ForRequest,
    /// For the rest of a head.
    ForHead,
}

impl<S> Timed<S> {
    /// Watches over `stream` from now on.
    pub fn new(stream: S, patience: Patience, farewell: Farewell) -> Self {
        let alarm = Box::pin(sleep_until(Instant::now() + patience.head));
        Self {
            stream,
            in_flight: InFlight::default(),
            patience,
            waiting: Waiting::ForFirst,
            begun: 0,
            alarm,
            stalled: None,
            farewell,
        }
    }

    /// The stream below.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The mark that requests set.
    pub fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// Gives a write that cannot go on the idle time, and then an error.
    fn unless_stalled<T>(
        &mut self,
        outcome: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let end = Instant::now() + self.patience.idle;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep_until(end)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn wait(&mut self, next: Waiting) {
        let patience = match next {
            Waiting::No => {
                self.waiting = next;
                return;
            }
            Waiting::ForRequest => self.patience.idle,
            Waiting::ForFirst | Waiting::ForHead => self.patience.head,
        };
        if self.waiting != next {
            self.waiting = next;
            self.alarm.as_mut().reset(Instant::now() + patience);
        }
    }

    /// Whether it is time to hang up on a peer that has sent nothing.
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        if !self.farewell.poll_closed(context) {
            return false;
        }
        if self.waiting == Waiting::ForFirst {
            // What it was made for is on its way.
            let last_call = self.alarm.deadline().min(Instant::now() + LAST_CALL);
            self.alarm.as_mut().reset(last_call);
            self.waiting = Waiting::ForHead;
        }
        self.waiting == Waiting::ForRequest
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let begun = this.in_flight.begun();
        if this.in_flight.is_answering() || begun != this.begun {
            this.begun = begun;
            this.wait(Waiting::No);
        }
        if this.waiting == Waiting::No && !this.in_flight.is_answering() {
            this.wait(Waiting::ForRequest);
        }
        if let Poll::Ready(outcome) = Pin::new(&mut this.stream).poll_read(context, buffer) {
            match this.waiting {
                Waiting::ForRequest if buffer.filled().len() > before => this.wait(Waiting::ForHead),
                // The clock of the first head has run since the connection was made.
                Waiting::ForFirst => this.waiting = Waiting::ForHead,
                _ => {}
            }
            return Poll::Ready(outcome);
        }
        if this.is_over(context) {
            return Poll::Ready(Ok(()));
        }
        if this.waiting == Waiting::No {
            return Poll::Pending;
        }
        ready!(this.alarm.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.unless_stalled(outcome, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.unless_stalled(outcome, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.unless_stalled(outcome, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// How long a connection that was made as the listeners closed may take to send its request's first byte.
const LAST_CALL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const PATIENCE: Patience = Patience { head: Duration::from_secs(10), idle: Duration::from_millis(200) };

    #[tokio::test]
    async fn an_answer_that_nobody_takes_ends_the_connection_after_the_idle_time() {
        let (near, _far) = duplex(16);
        let began = Instant::now();
        let outcome = Timed::new(near, PATIENCE, farewell(pending())).write_all(&[0; 64]).await;
        assert_eq!(outcome.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        assert!(began.elapsed() >= PATIENCE.idle, "{:?}", began.elapsed());
    }

    fn farewell(closing: impl Future<Output = ()> + 'static) -> Farewell {
        Farewell::new(closing, None)
    }

    #[tokio::test]
    async fn what_has_come_when_the_server_ends_is_read_before_the_connection_ends() {
        let (near, mut far) = duplex(64);
        let mut near = Timed::new(near, PATIENCE, farewell(ready(())));
        drop(near.in_flight().begin());
        far.write_all(b"GET").await.unwrap();
        let mut read = [0; 16];
        assert_eq!(near.read(&mut read).await.unwrap(), 3, "the request that has come");
        drop(near.in_flight().begin());
        assert_eq!(near.read(&mut read).await.unwrap(), 0, "and no other");
    }

    #[tokio::test]
    async fn a_connection_that_was_just_made_is_heard_when_the_server_ends() {
        let (near, mut far) = duplex(64);
        let mut near = Timed::new(near, PATIENCE, farewell(ready(())));
        let mut read = [0; 16];
        let late = async {
            tokio::time::sleep(LAST_CALL / 4).await;
            far.write_all(b"GET").await
        };
        let (heard, sent) = tokio::join!(near.read(&mut read), late);
        assert_eq!((heard.unwrap(), sent.is_ok()), (3, true));

        let (near, _far) = duplex(64);
        let (mut silent, began) = (Timed::new(near, PATIENCE, farewell(ready(()))), Instant::now());
        let outcome = silent.read(&mut read).await.map_err(|error| error.kind());
        assert_eq!(outcome, Err(io::ErrorKind::TimedOut));
        assert!(began.elapsed() < PATIENCE.head / 2, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn an_answer_that_is_taken_slowly_arrives() {
        let (near, mut far) = duplex(16);
        let mut near = Timed::new(near, PATIENCE, farewell(pending()));
        let reader = async {
            let mut part = [0; 16];
            for _ in 0..6 {
                tokio::time::sleep(PATIENCE.idle / 2).await;
                far.read_exact(&mut part).await?;
            }
            Ok::<_, io::Error>(())
        };
        let (written, read) = tokio::join!(near.write_all(&[0; 96]), reader);
        assert!(written.is_ok() && read.is_ok(), "{written:?} {read:?}");
    }
}
