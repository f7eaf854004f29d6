//! The last good list of each URL on disk: one file of a line of JSON and the bytes as they came.
//!
//! A file is replaced as a whole (written aside, synced, renamed), so that list and validators never come from different
//! answers. Nothing in it is believed: its digest says whether it is whole, its URL whether it is the right one, and
//! whether the list is good is asked of its signature, by whoever reads it.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::pki::fetch::Validators;

/// The longest first line.
const LONGEST_HEAD: usize = 64 * 1024;
const SUFFIX: &str = ".crl";
const ASIDE: &str = ".new";

/// Where the files are.
pub(super) struct ListDirectory(pub(super) PathBuf);

/// What was kept of one URL.
pub(super) struct Kept {
    pub(super) validators: Validators,
    /// SHA-256 of the list.
    pub(super) digest: [u8; 32],
    file: Vec<u8>,
    begin: usize,
}

impl Kept {
    /// The list, as it came.
    pub(super) fn list(&self) -> &[u8] {
        self.file.get(self.begin..).unwrap_or_default()
    }
}

/// The first line of a file.
#[derive(Serialize, Deserialize)]
struct Head {
    url: String,
    sha256: String,
    #[serde(flatten)]
    validators: Validators,
}

impl ListDirectory {
    /// What is there of this URL; the error says why that is of no use.
    pub(super) fn load(&self, url: &Url, longest: usize) -> Result<Option<Kept>, String> {
        let path = self.path(url);
        let unreadable = |error: io::Error| format!("{}: {error}", path.display());
        match fs::symlink_metadata(&path) {
            Ok(about) if about.is_file() => {}
            Ok(_) => return Err(format!("{} is not a file", path.display())),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        }
        let file = read(&path, longest + LONGEST_HEAD).map_err(unreadable)?;
        let kept = parse(file, url).ok_or_else(|| {
            format!("{} is damaged, or not a file of this program; it will be overwritten", path.display())
        })?;
        Ok(Some(kept))
    }

    /// Replaces what is there of this URL.
    pub(super) fn save(
        &self,
        url: &Url,
        validators: &Validators,
        digest: [u8; 32],
        list: &[u8],
    ) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let head = Head { url: url.to_string(), sha256: hex(&digest), validators: validators.clone() };
        let (path, aside) = (self.path(url), self.aside(url));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        let mut line = serde_json::to_vec(&head)?;
        line.push(b'\n');
        file.write_all(&line)?;
        file.write_all(list)?;
        file.sync_all()?;
        fs::rename(&aside, &path)?;
        File::open(&self.0)?.sync_all()
    }

    /// Forgets this URL. A file that cannot be removed does no harm: nobody asks for it.
    pub(super) fn remove(&self, url: &Url) {
        let _ = fs::remove_file(self.path(url));
    }

    /// Forgets all other URLs. What does not bear a name of ours stays.
    pub(super) fn retain<'u>(&self, urls: impl Iterator<Item = &'u Url>) {
        let kept: BTreeSet<_> = urls.map(stem).collect();
        let Ok(entries) = fs::read_dir(&self.0) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let ours =
                name.strip_suffix(SUFFIX).or_else(|| name.strip_suffix(ASIDE)).filter(|stem| is_stem(stem));
            if ours.is_some_and(|stem| !kept.contains(stem)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn path(&self, url: &Url) -> PathBuf {
        self.0.join(stem(url) + SUFFIX)
    }

    fn aside(&self, url: &Url) -> PathBuf {
        self.0.join(stem(url) + ASIDE)
    }
}

fn read(path: &Path, longest: usize) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if length > longest {
        return Err(io::Error::other("too long to be a list from here"));
    }
    let mut bytes = Vec::with_capacity(length);
    file.take(longest as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn parse(file: Vec<u8>, url: &Url) -> Option<Kept> {
    let end = file.iter().take(LONGEST_HEAD).position(|byte| *byte == b'\n')?;
    let head: Head = serde_json::from_slice(file.get(..end)?).ok()?;
    let begin = end + 1;
    let digest: [u8; 32] = Sha256::digest(file.get(begin..)?).into();
    let is_right = head.url == url.as_str() && head.sha256 == hex(&digest);
    is_right.then_some(Kept { validators: head.validators, digest, file, begin })
}

/// The name of a URL's files: it may be longer than a name can be, and holds slashes.
fn stem(url: &Url) -> String {
    hex(&Sha256::digest(url.as_str()))
}

fn is_stem(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn url(path: &str) -> Url {
        format!("http://crl.example.com/{path}").parse().unwrap()
    }

    fn saved(lists: &[(&str, &[u8])]) -> (tempfile::TempDir, ListDirectory) {
        let parent = tempfile::tempdir().unwrap();
        let directory = ListDirectory(parent.path().join("crl"));
        for (path, list) in lists {
            let validators = Validators { etag: Some(format!("\"{path}\"")), last_modified: None };
            directory.save(&url(path), &validators, Sha256::digest(list).into(), list).unwrap();
        }
        (parent, directory)
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let (_parent, directory) = saved(&[("a", b"old"), ("a", b"line\nline"), ("b", b"")]);
        let kept = directory.load(&url("a"), 9).unwrap().unwrap();
        assert_eq!((kept.list(), kept.validators.etag.as_deref()), (b"line\nline".as_slice(), Some("\"a\"")));
        assert_eq!(directory.load(&url("b"), 9).unwrap().unwrap().list(), b"");
        assert!(directory.load(&url("c"), 9).unwrap().is_none());
        assert!(directory.load(&url("a?b"), 9).unwrap().is_none(), "the query belongs to the URL");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&directory.0), mode(&directory.path(&url("a")))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 2, "nothing is left aside");
    }

    #[test]
    fn a_broken_or_foreign_file_is_of_no_use_and_is_overwritten() {
        let (_parent, directory) = saved(&[("a", b"list a"), ("b", b"list b")]);
        let whole = fs::read(directory.path(&url("a"))).unwrap();
        let other = fs::read(directory.path(&url("b"))).unwrap();
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let cut = whole[..whole.len() - 1].to_vec();
        let long = [whole.as_slice(), &vec![0; LONGEST_HEAD]].concat();
        for broken in [flipped, cut, other, long, Vec::new(), b"{}\n".to_vec(), vec![0xff; 100]] {
            fs::write(directory.path(&url("a")), &broken).unwrap();
            let why = directory.load(&url("a"), 6).err().unwrap();
            assert!(why.contains(&stem(&url("a"))), "{why}");
        }
        let digest = Sha256::digest(b"new").into();
        directory.save(&url("a"), &Validators::default(), digest, b"new").unwrap();
        assert_eq!(directory.load(&url("a"), 6).unwrap().unwrap().list(), b"new");
        fs::remove_file(directory.path(&url("b"))).unwrap();
        fs::create_dir(directory.path(&url("b"))).unwrap();
        assert!(directory.load(&url("b"), 6).is_err());
    }

    #[test]
    fn only_files_of_this_room_are_forgotten() {
        let (_parent, directory) = saved(&[("a", b"a"), ("b", b"b")]);
        fs::write(directory.aside(&url("b")), "left by a crash").unwrap();
        fs::write(directory.0.join("notes.crl"), "of somebody else").unwrap();
        directory.retain([url("a")].iter());
        assert!(directory.load(&url("a"), 9).unwrap().is_some());
        assert!(directory.load(&url("b"), 9).unwrap().is_none());
        assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 2);
        directory.remove(&url("a"));
        assert!(directory.load(&url("a"), 9).unwrap().is_none());
    }
}
