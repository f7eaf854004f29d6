//! `certbound serve`: the server, until a signal ends it.
//!
//! Every problem at start is told at once, in the words of `check`. SIGTERM and SIGINT let those who are at work leave,
//! answer what is in flight and end; a second one ends at once. SIGHUP is the business of the background tasks.

use std::future::pending;
use std::sync::Arc;
use std::thread;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::{self, StartError, Stopper};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, LogFormat};
use crate::{tasks, telemetry};

use super::client::runtime;
use super::output::{Answer, DONE, Fault, conclude};
use super::{Globals, check, control};

/// Serves.
pub(crate) fn run(globals: &Globals) -> u8 {
    conclude(serve(globals))
}

fn serve(globals: &Globals) -> Result<Answer, Fault> {
    control::readable(globals)?;
    let (config, problems) = Config::load(&globals.config);
    // A configuration with errors ends here, with everything else that `check` would say.
    let config = config
        .ok_or_else(|| Fault::Refused(control::listed(&check::problems(globals, SystemClock.now()))))?;
    start_logging(&config);
    tasks::tell(&problems);
    let signals = Signals::listen()?;
    let running = app::start(config, Arc::new(SystemClock))?;
    signals.stop(running.stopper())?;
    running.wait();
    telemetry::finish();
    Ok(Answer { code: DONE, text: String::new() })
}

fn start_logging(config: &Config) {
    let format = match config.log.format {
        LogFormat::Json => telemetry::LogFormat::Json,
        LogFormat::Text => telemetry::LogFormat::Text,
    };
    telemetry::start_logging(format, config.log.level.as_str());
}

/// SIGTERM and SIGINT. What comes between [`Signals::listen`] and [`Signals::stop`] is not lost, so that whoever
/// has read `listening` can end the server.
pub(super) struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on they no longer end the process by themselves.
    pub(super) fn listen() -> Result<Self, Fault> {
        let runtime = runtime()?;
        let inside = runtime.enter();
        let listen = |kind| {
            signal(kind).map_err(|error| Fault::Refused(format!("the system gives no signals: {error}")))
        };
        let (terminate, interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        drop(inside);
        Ok(Self { runtime, terminate, interrupt })
    }

    /// The first one ends the server, from a thread of its own, once nobody is there any more; the second does not wait for
    /// that, nor for what is in flight.
    pub(super) fn stop(self, stopper: Stopper) -> Result<(), Fault> {
        let Self { runtime, mut terminate, mut interrupt } = self;
        let wait = move || {
            runtime.block_on(async {
                next(&mut terminate, &mut interrupt).await;
                let ending = async {
                    stopper.wind_down().await;
                    stopper.stop();
                    pending::<()>().await;
                };
                tokio::select! { () = ending => {}, () = next(&mut terminate, &mut interrupt) => {} }
            });
            stopper.abort();
        };
        let thread = thread::Builder::new().name("signals".to_owned()).spawn(wait);
        thread.map(drop).map_err(|error| Fault::Refused(format!("the system gives no thread: {error}")))
    }
}

/// Returns with the next signal of the two.
async fn next(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
}

impl From<StartError> for Fault {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Problems(problems) => Self::Refused(control::listed(&problems)),
            StartError::Store(error) => error.into(),
            StartError::System { .. } => Self::Refused(error.to_string()),
        }
    }
}
