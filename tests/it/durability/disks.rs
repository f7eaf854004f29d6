//! Disks that are full, fail, may not be written, or are exchanged while the server runs: what was answered holds, tokens
//! are issued, a revocation that is not on disk is 503, and when the disk is well again so is the server, by itself.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use super::figures::{Figures, left_out, rounds};
use super::mounts::{Mount, copy_image, format};
use super::{Place, Talk, copy, run};
use crate::support::program::Serving;
use crate::support::server::eventually;

/// Tokens in the course of a fault.
struct Course<'a> {
    place: &'a Place,
    talk: Talk,
    /// Revoked before the fault, and answered.
    before: String,
    /// Revoked in vain during it.
    during: String,
    /// Never revoked.
    living: String,
}

impl<'a> Course<'a> {
    fn begin(place: &'a Place, serving: &Serving) -> Self {
        let mut talk = place.talk(serving);
        let [before, during, living] = [0; 3].map(|_| talk.token());
        assert_eq!(talk.revoke(&before).unwrap().status, 200);
        Self { place, talk, before, during, living }
    }

    /// What holds while nothing can be written.
    fn nothing_can_be_written(&mut self) {
        for _ in 0..3 {
            let answer = self.talk.revoke(&self.during).unwrap();
            assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{answer:?}");
        }
        let issued = self.talk.token();
        assert!(!self.talk.is_active(&self.before), "what was acknowledged holds");
        assert!(self.talk.is_active(&self.living) && self.talk.is_active(&issued));
    }

    /// What holds when the disk is well again: without a restart, and after one.
    fn all_is_well_again(&mut self, serving: Serving) {
        let Self { place, talk, before, during, living } = self;
        eventually("the store works again", || talk.revoke(during).unwrap().status == 200);
        let last = talk.token();
        assert_eq!(talk.revoke(&last).unwrap().status, 200);
        let holds = |talk: &mut Talk| {
            for ended in [&*before, during, &last] {
                assert!(!talk.is_active(ended));
            }
            assert!(talk.is_active(living));
        };
        holds(talk);
        serving.kill();
        let serving = place.start();
        holds(&mut place.talk(&serving));
    }
}

#[test]
fn while_files_cannot_grow_tokens_are_issued_and_revocations_are_refused_with_503() {
    let place = Place::new();
    place.start().stop();
    // Files of this process cannot grow while the limit holds; it is told so and not killed.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" serve", env!("CARGO_BIN_EXE_certbound")]);
    let serving = Serving::run(command.current_dir(place.path()), place.path()).unwrap();
    let limit = |bytes: &str| {
        let set = [format!("--fsize={bytes}:unlimited"), format!("--pid={}", serving.id())];
        Command::new("prlimit").args(set).status().is_ok_and(|status| status.success())
    };
    if !limit("unlimited") {
        return left_out("files that cannot grow", "prlimit does not work here");
    }
    let mut course = Course::begin(&place, &serving);
    assert!(limit("64"));
    course.nothing_can_be_written();
    assert!(limit("unlimited"));
    course.all_is_well_again(serving);
}

#[test]
fn a_full_disk_refuses_revocations_until_there_is_room() {
    let place = Place::new();
    let Some(disk) = Mount::memory("8m", &place.data()) else { return };
    let serving = place.start();
    let mut course = Course::begin(&place, &serving);
    let filler = disk.at().join("filler");
    fill(&filler);
    // What is allocated already may take a few more.
    let mut talk = place.talk(&serving);
    let mut fitted = Vec::new();
    loop {
        let token = talk.token();
        match talk.revoke(&token).unwrap().status {
            200 => fitted.push(token),
            other => break assert_eq!(other, 503),
        }
        assert!(fitted.len() < 20_000, "the disk is never full");
    }
    course.nothing_can_be_written();
    assert_eq!(talk.active_of(&fitted), 0);
    // Nor does another one start on it, and it says why.
    drop((talk, course.talk));
    serving.kill();
    let refused = Serving::try_start(place.path()).err().unwrap();
    assert_eq!((refused.code, refused.complaint.lines().count()), (Some(1), 1), "{refused:?}");
    assert!(refused.complaint.contains("data"), "{refused:?}");
    fs::remove_file(filler).unwrap();
    let serving = place.start();
    let mut talk = place.talk(&serving);
    assert_eq!(talk.active_of(&fitted), 0);
    let course = Course { talk, ..course };
    full_again(course, serving, &disk);
}

/// A second time, and with room again the same process goes on.
fn full_again(mut course: Course<'_>, serving: Serving, disk: &Mount) {
    let filler = disk.at().join("filler");
    fill(&filler);
    loop {
        let token = course.talk.token();
        if course.talk.revoke(&token).unwrap().status == 503 {
            break;
        }
    }
    course.nothing_can_be_written();
    fs::remove_file(filler).unwrap();
    course.all_is_well_again(serving);
}

/// The disk takes writes into its cache and cannot put them on the medium: `fsync` says so once, and the kernel then
/// takes the pages for written. Whoever reads them again and goes on loses them in the next power cut.
#[test]
fn what_an_fsync_could_not_write_is_written_again_before_anything_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let Some(pool) = Mount::memory("96m", &directory.path().join("pool")) else { return };
    let (image, after) = (pool.at().join("disk"), directory.path().join("disk"));
    // Thinly provisioned: its journal and tables have their room in the pool, what is free has to be asked for.
    format(&image, 32 << 20);
    let whole = fs::read(&image).unwrap();
    fs::write(&image, whole).unwrap();
    let at = directory.path().join("mounted");
    let Some(disk) = Mount::image(&image, &at) else { return };
    let place = Place::new().moved_to(&at);
    run("sync", &["-f", &at.display().to_string()]);
    let serving = place.start();
    let mut course = Course::begin(&place, &serving);
    let mut talk = place.talk(&serving);
    let mut ended = vec![course.before.clone()];
    for round in 0..rounds(1, 5) {
        run("fstrim", &[&at.display().to_string()]);
        let filler = pool.at().join("filler");
        fill(&filler);
        loop {
            let token = talk.token();
            match talk.revoke(&token).unwrap().status {
                200 => ended.push(token),
                other => break assert_eq!(other, 503),
            }
            assert!(ended.len() < 20_000, "the disk is never full");
        }
        course.nothing_can_be_written();
        fs::remove_file(filler).unwrap();
        let next = talk.token();
        eventually("the store works again", || talk.revoke(&next).unwrap().status == 200);
        ended.push(next);
        for _ in 0..20 {
            let token = talk.token();
            assert_eq!(talk.revoke(&token).unwrap().status, 200, "round {round}");
            ended.push(token);
        }
        serving.freeze();
        copy_image(&image, &after);
        serving.thaw();
        let other = directory.path().join("other");
        let Some(copied) = Mount::image(&after, &other) else { return };
        let mut figures = Figures::new("a power cut after the disk had failed");
        let second = Place::new().seen_at(&other, &place);
        if let Some(again) = figures.start(&second) {
            figures.rounds = 1;
            figures.acknowledged = ended.len();
            figures.lost = second.talk(&again).active_of(&ended);
            again.kill();
        }
        drop(copied);
        figures.show();
    }
    course.all_is_well_again(serving);
    drop(disk);
}

#[test]
fn a_store_that_may_not_be_written_refuses_revocations_until_it_may() {
    let place = Place::new();
    let serving = place.start();
    let mut course = Course::begin(&place, &serving);
    // Root may write whatever the mode says, but not what is immutable.
    let Some(immutable) = Immutable::make(&place.data()) else { return };
    course.nothing_can_be_written();
    drop(immutable);
    course.all_is_well_again(serving);
}

#[test]
fn a_volume_that_fails_and_is_mounted_again_is_taken_up_again() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk");
    format(&image, 32 << 20);
    let place = Place::new();
    let Some(disk) = Mount::image(&image, &place.data()) else { return };
    let serving = place.start();
    let mut course = Course::begin(&place, &serving);
    // EXT4_IOC_SHUTDOWN, without the log: from now on every access fails, until it is mounted again.
    let shut = "import fcntl, os, struct, sys\n\
                fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";
    let shut = Command::new("python3").args(["-c", shut]).arg(disk.at()).output();
    if !shut.as_ref().is_ok_and(|output| output.status.success()) {
        return left_out("a volume that fails", &format!("it cannot be made to fail here: {shut:?}"));
    }
    course.nothing_can_be_written();
    drop(disk);
    // As another volume: the kernel keeps the one that failed for as long as somebody has a file of it open.
    let mended = directory.path().join("mended");
    copy_image(&image, &mended);
    let Some(_disk) = Mount::image(&mended, &place.data()) else { return };
    course.all_is_well_again(serving);
}

#[test]
fn a_directory_that_is_removed_or_exchanged_while_the_server_runs_takes_no_revocation() {
    let (place, other) = (Place::new(), Place::new());
    other.start().stop();
    let serving = place.start();
    let mut course = Course::begin(&place, &serving);
    let aside = place.path().join("aside");
    fs::rename(place.data(), &aside).unwrap();
    course.nothing_can_be_written();
    assert!(!place.data().exists(), "something was put in its place");
    copy(&other.data(), &place.data());
    course.nothing_can_be_written();
    fs::remove_dir_all(place.data()).unwrap();
    fs::create_dir(place.data()).unwrap();
    course.nothing_can_be_written();
    assert_eq!(fs::read_dir(place.data()).unwrap().count(), 0, "something was put in its place");
    fs::remove_dir(place.data()).unwrap();
    fs::rename(aside, place.data()).unwrap();
    course.all_is_well_again(serving);
}

impl Place {
    /// The same server, on a copy of its disk.
    fn seen_at(mut self, root: &Path, original: &Self) -> Self {
        self.root = root.to_path_buf();
        self.billing = original.billing.clone();
        self.gateway = original.gateway.clone();
        self.server_ca.clone_from(&original.server_ca);
        self
    }
}

/// Takes all room that there is.
fn fill(filler: &Path) {
    let mut file = File::options().create(true).append(true).open(filler).unwrap();
    let mut block = vec![0xA5; 1 << 20];
    while !block.is_empty() {
        if file.write_all(&block).is_err() {
            block.truncate(block.len() / 2);
        }
    }
}

/// Files that even root may not change, until it is dropped.
struct Immutable(Vec<String>);

impl Immutable {
    fn make(directory: &Path) -> Option<Self> {
        let mut paths = vec![directory.display().to_string()];
        paths.extend(
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path().display().to_string()),
        );
        let set = Command::new("chattr").arg("+i").args(&paths).output();
        let immutable = Self(paths);
        if set.as_ref().is_ok_and(|output| output.status.success()) {
            return Some(immutable);
        }
        left_out("a store that may not be written", &format!("files cannot be made immutable here: {set:?}"));
        None
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        let _ = Command::new("chattr").arg("-i").args(&self.0).output();
    }
}
