//! The way of a node to its database, which a test can cut: a unix socket in front of that of `PostgreSQL`.
//!
//! Cut, it takes connections and bytes and hands on nothing, as a network does that has lost the way.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

pub(super) struct Cable {
    path: PathBuf,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    cut: Mutex<bool>,
    mended: Condvar,
    over: AtomicBool,
}

impl Cable {
    /// From a socket at `path` to the one at `database`.
    pub(super) fn lay(path: PathBuf, database: PathBuf) -> Self {
        let listener = UnixListener::bind(&path).unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for near in listener.incoming() {
                if shared.over.load(Ordering::Relaxed) {
                    break;
                }
                // A connection that cannot be handed on is hung up on, as it would be without the cable.
                let _ = near.and_then(|near| connect(near, &database, &shared));
            }
        });
        Self { path, state }
    }

    pub(super) fn cut(&self) {
        *self.state.cut.lock().unwrap() = true;
    }

    pub(super) fn mend(&self) {
        *self.state.cut.lock().unwrap() = false;
        self.state.mended.notify_all();
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
        self.mend();
        // Wakes who waits for the next connection.
        let _ = UnixStream::connect(&self.path);
    }
}

impl State {
    fn wait_until_whole(&self) {
        let cut = self.cut.lock().unwrap();
        drop(self.mended.wait_while(cut, |cut| *cut).unwrap());
    }
}

fn connect(near: UnixStream, database: &Path, state: &Arc<State>) -> io::Result<()> {
    let far = UnixStream::connect(database)?;
    for (from, to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        let state = Arc::clone(state);
        thread::spawn(move || hand_on(from, to, &state));
    }
    Ok(())
}

fn hand_on(mut from: UnixStream, mut to: UnixStream, state: &State) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(read) = from.read(&mut bytes)
        && read > 0
    {
        state.wait_until_whole();
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    // Whichever side is gone, the other hears of it.
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}
