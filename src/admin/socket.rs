//! The file of the control socket: there while its server runs, and nobody else's.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// The name of a socket that is listened on; gone when dropped.
#[derive(Debug)]
pub struct ControlSocket(PathBuf);

impl ControlSocket {
    /// Takes the place of whatever a dead server left there; the caller holds the lock of the store, so no living one is
    /// robbed. Nobody can connect before the mode is 0600: the socket is made in a directory that only we may enter.
    pub fn bind(path: &Path) -> io::Result<(Self, UnixListener)> {
        let parent =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(parent)?;
        let private = tempfile::Builder::new().prefix(".c").rand_bytes(4).tempdir_in(parent)?;
        let fresh = private.path().join("s");
        let listener = UnixListener::bind(&fresh)?;
        fs::set_permissions(&fresh, Permissions::from_mode(0o600))?;
        fs::rename(&fresh, path)?;
        Ok((Self(path.to_owned()), listener))
    }
}

impl fmt::Display for ControlSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix:{}", self.0.display())
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // A socket that is left behind refuses connections, which the commands understand.
        let _ = fs::remove_file(&self.0);
    }
}
