//! The file of a unix socket, the control socket first of all: there while its server runs, and nobody else's.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// The name of a socket that is listened on; gone when dropped.
#[derive(Debug)]
pub struct ControlSocket(PathBuf);

impl ControlSocket {
    /// A socket for its owner alone.
    pub fn bind(path: &Path) -> io::Result<(Self, UnixListener)> {
        Self::bind_for(path, 0o600)
    }

    /// Takes the place of the socket that a dead server of the same user left there; the caller holds the lock of the
    /// store, so no living one is robbed. Nobody can connect before the mode is what it is to be: the socket is made in a
    /// directory that only we may enter.
    pub fn bind_for(path: &Path, mode: u32) -> io::Result<(Self, UnixListener)> {
        let parent =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(parent)?;
        let private = tempfile::Builder::new().prefix(".c").rand_bytes(4).tempdir_in(parent)?;
        let fresh = private.path().join("s");
        let listener = UnixListener::bind(&fresh)?;
        fs::set_permissions(&fresh, Permissions::from_mode(mode))?;
        may_be_replaced(path, &fresh)?;
        fs::rename(&fresh, path)?;
        Ok((Self(path.to_owned()), listener))
    }
}

/// Whether there is nothing, or a socket of our own user, which is the owner of the fresh one.
fn may_be_replaced(path: &Path, fresh: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let wrong = if !found.file_type().is_socket() {
        "there is something else of this name, and not a socket"
    } else if found.uid() != fs::symlink_metadata(fresh)?.uid() {
        "there is a socket of another user"
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::AlreadyExists, wrong))
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
