//! Disks of our own: memory of a bounded size, and ext4 in a file. Both need the right to mount; without it the test says
//! that it was left out.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::figures::left_out;
use super::run;

/// A mounted disk, let go of when it is dropped.
pub(super) struct Mount(PathBuf);

impl Mount {
    /// So much memory and no more.
    pub(super) fn memory(size: &str, at: &Path) -> Option<Self> {
        Self::with(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], at)
    }

    /// An ext4 in a file. What its kernel threads would write in their own time is left out, so that a copy that is made
    /// while nobody writes is what the disk had at that moment.
    pub(super) fn image(file: &Path, at: &Path) -> Option<Self> {
        Self::with(&["-o", "loop,commit=600,noinit_itable,nodiscard", &file.display().to_string()], at)
    }

    fn with(arguments: &[&str], at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mut said = String::new();
        // All loop devices may be in use for a moment.
        for _ in 0..50 {
            let output = Command::new("mount").args(arguments).arg(at).output();
            match output {
                Ok(output) if output.status.success() => return Some(Self(at.to_path_buf())),
                Ok(output) => String::from_utf8_lossy(&output.stderr).trim().clone_into(&mut said),
                Err(error) => said = error.to_string(),
            }
            if !said.contains("loop device") {
                break;
            }
            thread::sleep(Duration::from_millis(200));
        }
        let name = thread::current().name().unwrap_or_default().to_owned();
        left_out(&name, &format!("it needs the right to mount, as root has it ({said})"));
        None
    }

    pub(super) fn at(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a server that is about to end may have files open in it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Makes the file of an [image](Mount::image).
pub(super) fn format(file: &Path, bytes: u64) {
    File::create(file).unwrap().set_len(bytes).unwrap();
    let options = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
    run("mkfs.ext4", &["-q", "-F", "-E", options, &file.display().to_string()]);
}

/// Copies the file of an image, its holes as holes.
pub(super) fn copy_image(from: &Path, to: &Path) {
    run("cp", &["--sparse=always", &from.display().to_string(), &to.display().to_string()]);
}
