//! The directory where the signing keys lie: `YYYYMMDDThhmmssZ-ES256.pem`, PKCS#8 (RFC 5208, RFC 7468 §10).
//!
//! The name says when a key begins to sign and for what algorithm; nothing else is kept about a key. A file
//! is written beside its place, synced and put there without overwriting, so that neither a crash nor
//! another node leaves half a key or two keys of one name. `revoked` lists the `kid`s that are never loaded
//! again, one a line. PEM is read and written in `directory/pem.rs`. What is to be done and when is `rotation.rs`'s; when to read again the caller's.

pub(super) mod pem;

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::{Begin, KeyId, Plan, SigningAlgorithm, SigningKey, SigningKeys, Step};
use crate::clock::Timestamp;

/// `kid`s that are never loaded again, one a line.
const REVOKED: &str = "revoked";

/// What else may lie here: the id of the store and the control socket belong to other rooms.
const NOT_KEYS: [&str; 5] = [REVOKED, "README.md", "store-id", "control.sock", "control.lock"];

/// An RSA key of 8192 bits takes less than 7 KiB.
const LARGEST_FILE: usize = 16 * 1024;

/// How many seconds a taken name may move on.
const MOST_MOVES: usize = 3600;

const SECOND: std::time::Duration = std::time::Duration::from_secs(1);

/// `signing.directory`.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
}

/// One reading of the keys.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The keys that could be loaded.
    pub keys: SigningKeys,
    /// Which state of the shared keys this is; of a directory always 0.
    pub generation: i64,
    /// What is known of every shared key, also of one that does not open; `None` where nothing can be planned.
    pub plan: Option<Plan>,
    /// What is wrong. At start any of these is a reason to stop.
    pub errors: Vec<KeyFileError>,
    /// What is odd, and was read all the same.
    pub warnings: Vec<KeyFileError>,
}

/// A file of the directory, or the directory, or a key in the database, and what is wrong with it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{file}: {what}")]
pub struct KeyFileError {
    /// Which file.
    pub file: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub instead: String,
}

/// What a step did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// There was nothing to do.
    Nothing,
    /// A key was made.
    Created(KeyId),
    /// Another node had made the key of this period before.
    AlreadyThere,
    /// An expired key was deleted.
    Forgotten(KeyId),
}

impl Directory {
    /// The directory at `path`, made with mode 0700 if it is missing.
    pub fn open(path: &Path) -> Result<Self, KeyFileError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| KeyFileError::io(path, "be made", &error))?;
        Ok(Self { path: path.to_path_buf() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads every key.
    pub fn read(&self) -> Reading {
        self.reread(&SigningKeys::default())
    }

    /// Reads every key; where a file, or the whole directory, has an error, the key of `previous` that was
    /// read from it stays. A key whose file is gone, and a revoked one, is gone.
    pub fn reread(&self, previous: &SigningKeys) -> Reading {
        let mut reading = Reading::default();
        let listed = self
            .check_mode(&mut reading.warnings)
            .and_then(|()| Ok((self.key_files(&mut reading.warnings)?, self.revoked()?)));
        let (files, revoked) = match listed {
            Ok(listed) => listed,
            Err(error) => {
                return Reading { keys: previous.clone(), errors: vec![error], ..reading };
            }
        };
        let mut keys: Vec<Arc<SigningKey>> = Vec::new();
        for file in files {
            match file.check_mode(&mut reading.warnings).and_then(|()| file.load()) {
                Ok(key) if revoked.contains(key.id().as_str()) => reading.warnings.push(file.is_revoked()),
                Ok(key) if keys.iter().any(|other| other.id() == key.id()) => {
                    reading.errors.push(file.is_a_copy());
                }
                Ok(key) => keys.push(Arc::new(key)),
                Err(_) if file.is_gone() => {}
                Err(error) => {
                    reading.errors.push(error);
                    let stays = previous.all().iter().find(|key| file.held(key));
                    keys.extend(stays.filter(|key| !revoked.contains(key.id().as_str())).cloned());
                }
            }
        }
        reading.keys = SigningKeys::of(keys);
        reading
    }

    /// Does what [`super::next_step`] wants done. The name of a new key belongs to its period: if it is
    /// taken, another node was first, and that is as good.
    pub fn carry_out(&self, step: &Step, algorithm: SigningAlgorithm) -> Result<Change, KeyFileError> {
        match step {
            Step::Wait { .. } => Ok(Change::Nothing),
            Step::Forget { id } => self.forget(id).map(|()| Change::Forgotten(id.clone())),
            Step::Create { signs_from } => {
                let (id, pkcs8) = self.generate(algorithm, *signs_from)?;
                let written = self.write_new(&file_name(algorithm, *signs_from), &pkcs8)?;
                Ok(if written { Change::Created(id) } else { Change::AlreadyThere })
            }
        }
    }

    /// Makes a new key because somebody asked for one (`keys rotate`).
    pub fn rotate(
        &self,
        algorithm: SigningAlgorithm,
        begin: Begin,
        now: Timestamp,
    ) -> Result<KeyId, KeyFileError> {
        self.create(algorithm, begin.signs_from(&self.read().keys, now))
    }

    /// Makes a new key that signs from `signs_from`, or from the next second that no key has.
    pub fn create(&self, algorithm: SigningAlgorithm, signs_from: Timestamp) -> Result<KeyId, KeyFileError> {
        let (id, pkcs8) = self.generate(algorithm, signs_from)?;
        self.write_at_free_second(algorithm, signs_from, &pkcs8)?;
        Ok(id)
    }

    /// Takes over a private key in PEM, as OpenSSL writes it (PKCS#8, PKCS#1 or SEC1, not encrypted), to sign
    /// from `signs_from` or the next second that no key has ([`Begin::signs_from`] gives the time).
    ///
    /// What the key is decides the algorithm; for RSA, which has two, it is `configured` if that is one of
    /// them, else PS256.
    pub fn import(
        &self,
        pem: &[u8],
        configured: Option<SigningAlgorithm>,
        signs_from: Timestamp,
    ) -> Result<KeyId, KeyFileError> {
        let (algorithm, pkcs8) = pem::read_foreign(pem, configured).map_err(imported)?;
        let key = SigningKey::from_pkcs8(algorithm, &pkcs8, signs_from).map_err(|error| KeyFileError {
            instead: "import a P-256, an Ed25519 or an RSA key of 2048 to 8192 bits".to_owned(),
            ..imported((&error.what, ""))
        })?;
        if self.revoked()?.contains(key.id().as_str()) {
            return Err(imported(("this key was revoked", "make a new one: certbound keys rotate")));
        }
        if let Some((file, _)) = self.loadable()?.iter().find(|(_, other)| other.id() == key.id()) {
            let what = format!("this key is here already: {}", file.path.display());
            return Err(imported((&what, "to have it sign earlier, make a new key instead")));
        }
        self.write_at_free_second(algorithm, signs_from, &pkcs8)?;
        Ok(key.id().clone())
    }

    /// Deletes a key that verifies no more. That it is gone already is no error.
    pub fn forget(&self, id: &KeyId) -> Result<(), KeyFileError> {
        self.delete(self.loadable()?.iter().filter(|(_, key)| key.id() == id))
    }

    /// Ends a key at once: its `kid` is written to `revoked` and never loaded again, its file is deleted.
    /// If it was the signer, a new key of its algorithm is made first and signs from `now`. `false` if there
    /// is no such key. A file that others can read is found too: that is what revoking is for.
    pub fn revoke(&self, id: &str, now: Timestamp) -> Result<bool, KeyFileError> {
        let revoked = self.revoked()?;
        let loadable = self.loadable()?;
        let Some((_, key)) = loadable.iter().find(|(_, key)| key.id().as_str() == id) else {
            return Ok(false);
        };
        if !revoked.contains(id) {
            let good = loadable.iter().map(|(_, key)| key).filter(|key| !revoked.contains(key.id().as_str()));
            let keys = SigningKeys::of(good.cloned().collect());
            if keys.signer(now).is_ok_and(|signer| signer.id().as_str() == id) {
                self.create(key.algorithm(), now)?;
            }
            self.write_revoked(id)?;
        }
        self.delete(loadable.iter().filter(|(_, key)| key.id().as_str() == id))?;
        Ok(true)
    }

    fn generate(
        &self,
        algorithm: SigningAlgorithm,
        signs_from: Timestamp,
    ) -> Result<(KeyId, Zeroizing<Vec<u8>>), KeyFileError> {
        let failed = |_| {
            KeyFileError::new(&self.path, "no key could be made", "see whether the system has random bytes")
        };
        let pkcs8 = SigningKey::generate(algorithm).map_err(failed)?;
        let key = SigningKey::from_pkcs8(algorithm, &pkcs8, signs_from)?;
        Ok((key.id().clone(), pkcs8))
    }

    fn write_at_free_second(
        &self,
        algorithm: SigningAlgorithm,
        signs_from: Timestamp,
        pkcs8: &[u8],
    ) -> Result<(), KeyFileError> {
        let mut at = signs_from;
        for _ in 0..MOST_MOVES {
            // Two algorithms would have two names, but one second has one signer.
            let is_free = !SigningAlgorithm::ALL
                .into_iter()
                .any(|algorithm| self.path.join(file_name(algorithm, at)).symlink_metadata().is_ok());
            if is_free && self.write_new(&file_name(algorithm, at), pkcs8)? {
                return Ok(());
            }
            at = at.plus(SECOND);
        }
        let what = format!("every second of an hour from {signs_from} on has a key");
        Err(KeyFileError::new(&self.path, what, "delete the keys that nobody needs"))
    }

    /// Writes a key under a name; `false` if the name is taken.
    fn write_new(&self, name: &str, pkcs8: &[u8]) -> Result<bool, KeyFileError> {
        let path = self.path.join(name);
        let failed = |error: &io::Error| KeyFileError::io(&path, "be written", error);
        let pem = pem::write(pkcs8).map_err(|error| failed(&error))?;
        let write = || {
            let mode = fs::Permissions::from_mode(0o600);
            let mut file =
                tempfile::Builder::new().prefix(".new-").permissions(mode).tempfile_in(&self.path)?;
            file.write_all(&pem)?;
            file.as_file().sync_all()?;
            file.persist_noclobber(&path).map_err(|refused| refused.error)
        };
        match write() {
            Ok(_) => self.sync().map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(failed(&error)),
        }
    }

    fn delete<'a>(
        &self,
        keys: impl Iterator<Item = &'a (KeyFile, Arc<SigningKey>)>,
    ) -> Result<(), KeyFileError> {
        for (file, _) in keys {
            match fs::remove_file(&file.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(KeyFileError::io(&file.path, "be deleted", &error));
                }
                _ => {}
            }
        }
        self.sync()
    }

    fn revoked(&self) -> Result<HashSet<String>, KeyFileError> {
        let path = self.path.join(REVOKED);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.lines().map(|line| line.trim().to_owned()).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(HashSet::new()),
            Err(error) => Err(KeyFileError::io(&path, "be read", &error)),
        }
    }

    /// Appends, so that two who revoke at the same moment do not overwrite each other. The line break before
    /// the `kid` ends a line that a crash cut off.
    fn write_revoked(&self, id: &str) -> Result<(), KeyFileError> {
        let path = self.path.join(REVOKED);
        let append = || {
            let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
            let line = if file.metadata()?.len() == 0 { format!("{id}\n") } else { format!("\n{id}\n") };
            file.write_all(line.as_bytes())?;
            file.sync_all()
        };
        append().map_err(|error| KeyFileError::io(&path, "be written", &error))?;
        self.sync()
    }

    /// Makes what was done to the names in the directory survive a power cut.
    fn sync(&self) -> Result<(), KeyFileError> {
        let synced = File::open(&self.path).and_then(|directory| directory.sync_all());
        synced.map_err(|error| KeyFileError::io(&self.path, "be synced", &error))
    }

    fn check_mode(&self, warnings: &mut Vec<KeyFileError>) -> Result<(), KeyFileError> {
        let metadata =
            fs::metadata(&self.path).map_err(|error| KeyFileError::io(&self.path, "be read", &error))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let what = format!("the directory of the signing keys has mode {mode:04o}");
            warnings.push(KeyFileError::new(&self.path, what, format!("chmod 700 {}", self.path.display())));
        }
        Ok(())
    }

    /// The files whose names are those of keys, in the order of their times.
    fn key_files(&self, warnings: &mut Vec<KeyFileError>) -> Result<Vec<KeyFile>, KeyFileError> {
        let failed = |error: io::Error| KeyFileError::io(&self.path, "be read", &error);
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || NOT_KEYS.contains(&name.as_str()) {
                continue;
            }
            match KeyFile::of(&name, entry.path()) {
                Some(file) => files.push(file),
                None => warnings.push(KeyFileError::new(
                    &entry.path(),
                    "this is not the name of a signing key, and the file is ignored",
                    "name it YYYYMMDDThhmmssZ-ALGORITHM.pem, or keep it elsewhere",
                )),
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// Every key that can be read, whatever its mode, revoked or not.
    fn loadable(&self) -> Result<Vec<(KeyFile, Arc<SigningKey>)>, KeyFileError> {
        let files = self.key_files(&mut Vec::new())?;
        Ok(files.into_iter().filter_map(|file| file.load().ok().map(|key| (file, Arc::new(key)))).collect())
    }
}

/// A file with the name of a key.
struct KeyFile {
    path: PathBuf,
    algorithm: SigningAlgorithm,
    signs_from: Timestamp,
}

impl KeyFile {
    fn of(name: &str, path: PathBuf) -> Option<Self> {
        let (time, algorithm) = name.strip_suffix(".pem")?.split_once('-')?;
        let algorithm = SigningAlgorithm::parse(algorithm)?;
        Some(Self { path, algorithm, signs_from: Timestamp::parse_compact(time)? })
    }

    fn load(&self) -> Result<SigningKey, KeyFileError> {
        let failed = |error: io::Error| KeyFileError::io(&self.path, "be read", &error);
        // Asked before it is opened: opening a pipe would wait for its writer.
        if !fs::metadata(&self.path).map_err(failed)?.is_file() {
            return Err(KeyFileError::new(&self.path, "this is not a file", "put the key itself here"));
        }
        let mut pem = Zeroizing::new(Vec::with_capacity(LARGEST_FILE));
        let file = File::open(&self.path).map_err(failed)?;
        if file.take(LARGEST_FILE as u64).read_to_end(&mut pem).map_err(failed)? == LARGEST_FILE {
            return Err(KeyFileError::new(&self.path, "the file is larger than any key", "restore the file"));
        }
        let pkcs8 =
            pem::read(&pem).map_err(|(what, instead)| KeyFileError::new(&self.path, what, instead))?;
        SigningKey::from_pkcs8(self.algorithm, &pkcs8, self.signs_from)
            .map_err(|error| KeyFileError { file: self.path.display().to_string(), ..error })
    }

    /// Links are followed (Kubernetes mounts are links): the mode is that of the file at the end.
    fn check_mode(&self, warnings: &mut Vec<KeyFileError>) -> Result<(), KeyFileError> {
        let metadata =
            fs::metadata(&self.path).map_err(|error| KeyFileError::io(&self.path, "be read", &error))?;
        let mode = metadata.permissions().mode() & 0o777;
        let instead = format!("chmod 600 {}", self.path.display());
        if mode & 0o007 != 0 {
            let what = format!("everybody on this machine can get at this signing key (mode {mode:04o})");
            return Err(KeyFileError::new(&self.path, what, format!("{instead}, and revoke the key")));
        }
        if mode & 0o070 != 0 {
            let what = format!("the group can get at this signing key (mode {mode:04o})");
            warnings.push(KeyFileError::new(&self.path, what, instead));
        }
        Ok(())
    }

    /// Whether `key` was read from a file of this name.
    fn held(&self, key: &SigningKey) -> bool {
        key.signs_from() == self.signs_from && key.algorithm() == self.algorithm
    }

    /// Whether another node deleted it between listing and reading.
    fn is_gone(&self) -> bool {
        self.path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    fn is_revoked(&self) -> KeyFileError {
        KeyFileError::new(&self.path, "this key was revoked, and is not loaded", "delete the file")
    }

    fn is_a_copy(&self) -> KeyFileError {
        KeyFileError::new(&self.path, "an earlier file holds the same key", "delete one of the two")
    }
}

impl KeyFileError {
    fn new(path: &Path, what: impl Into<String>, instead: impl Into<String>) -> Self {
        Self { file: path.display().to_string(), what: what.into(), instead: instead.into() }
    }

    fn io(path: &Path, doing: &str, error: &io::Error) -> Self {
        let what = format!("cannot {doing}: {error}");
        Self::new(path, what, "let the user that certbound runs as read and write the directory")
    }
}

/// The name of a key's file.
pub(super) fn file_name(algorithm: SigningAlgorithm, signs_from: Timestamp) -> String {
    format!("{}-{}.pem", signs_from.compact(), algorithm.as_str())
}

fn imported((what, instead): (&str, &str)) -> KeyFileError {
    KeyFileError::new(Path::new("the key to import"), what, instead)
}

#[cfg(test)]
mod tests;
