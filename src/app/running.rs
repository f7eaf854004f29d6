//! A server at work, and its end.
//!
//! How an end fails nobody's request is told in [`http::ending`](crate::http::ending); here are the times.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use actix_server::ServerHandle;
use actix_web::web::Data;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::http::ending::Ending;
use crate::http::{Kind, Services};
use crate::tasks::beat::Beating;

/// A server at work.
pub struct Running {
    pub(super) addresses: Vec<(Kind, SocketAddr)>,
    pub(super) services: Data<Services>,
    pub(super) stopper: Stopper,
    pub(super) thread: JoinHandle<()>,
    pub(super) beating: Option<Beating>,
}

impl Running {
    /// Where it listens, in the order of the configuration; with port 0 in the configuration, the port that was given.
    pub fn addresses(&self) -> &[(Kind, SocketAddr)] {
        &self.addresses
    }

    /// The address of the first listener of this kind.
    pub fn address(&self, kind: Kind) -> Option<SocketAddr> {
        self.addresses.iter().find(|(of, _)| *of == kind).map(|(_, address)| *address)
    }

    /// What requests work with.
    pub fn services(&self) -> &Data<Services> {
        &self.services
    }

    /// Answers what is in flight, takes nothing new, and returns when all is over.
    pub fn stop(self) {
        self.stopper.stop();
        self.wait();
    }

    /// Returns when the server has ended.
    pub fn wait(self) {
        // A panic on that thread has been told by the panic hook; there is nothing to add.
        let _ = self.thread.join();
        // Nor may the node go on saying that it lives.
        let _ = self.stopper.end.send(true);
        if let Some(beating) = self.beating {
            beating.wait();
        }
    }

    /// Ends the server from another thread, on a signal for instance.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }
}

/// Ends a server that somebody else waits for.
#[derive(Clone)]
pub struct Stopper {
    pub(super) handle: ServerHandle,
    pub(super) ending: Arc<Ending>,
    pub(super) end: watch::Sender<bool>,
    pub(super) abort: watch::Sender<bool>,
}

impl Stopper {
    /// Says in `/readyz` that it is over, and goes on answering, until load balancers and those who keep a connection have
    /// found another server, or 2.5 s are over. [`stop`](Self::stop) comes after it.
    pub async fn wind_down(&self) {
        tracing::info!("ending");
        self.ending.begin();
        let end = Instant::now() + WIND_DOWN;
        while Instant::now() < end && !self.ending.is_quiet(QUIET) {
            sleep(LOOK).await;
        }
    }

    /// Answers what is in flight and takes nothing new.
    pub fn stop(&self) {
        self.ending.begin();
        // Dropping what `stop` returns would not take the order back; waiting for it is the thread's business.
        drop(self.handle.stop(true));
        let _ = self.end.send(true);
    }

    /// Ends the server at once, whatever it is doing. What it has answered holds, as after a crash.
    pub fn abort(&self) {
        let _ = self.end.send(true);
        let _ = self.abort.send(true);
    }
}

/// How long a server that was told to end goes on answering: long enough for a load balancer that looks at `/readyz`
/// twice a second, and for whoever sends a request each second or two.
const WIND_DOWN: Duration = Duration::from_millis(2500);

/// After this long without any connection nobody is waited for; nobody's handshake takes longer.
const QUIET: Duration = Duration::from_secs(1);

/// How often it looks whether anybody is left.
const LOOK: Duration = Duration::from_millis(20);
