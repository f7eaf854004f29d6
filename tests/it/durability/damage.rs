//! What was done to the files of a store while nobody looked. It starts with everything, or ends with 3 and one line.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::figures::{Dice, Figures, rounds};
use super::{Place, copy};
use crate::support::program::{Refused, Serving};

/// How long a start on a damaged store may take to end.
const END: Duration = Duration::from_secs(10);

#[test]
fn a_store_that_lost_something_is_refused_and_never_served_as_an_empty_one() {
    let store = Whole::new(20);
    let other = Whole::new(1);
    let data = store.place.data();
    store.refuses("the directory is gone", || fs::remove_dir_all(&data).unwrap());
    store.refuses("the directory is empty", || {
        fs::remove_dir_all(&data).unwrap();
        fs::create_dir(&data).unwrap();
    });
    store.refuses("the database is gone", || fs::remove_file(data.join("db")).unwrap());
    store.refuses("the database is empty", || database(&data).set_len(0).unwrap());
    store.refuses("the second half is gone", || database(&data).set_len(used(&data) / 2).unwrap());
    // What was written last may be what was seen, which no start depends on; then every revocation is there.
    store.restore();
    database(&data).set_len(used(&data) - 1).unwrap();
    assert_eq!(store.start("the last byte is gone").unwrap_or(0), 0);
    store.refuses("it is another store", || {
        fs::remove_dir_all(&data).unwrap();
        copy(&other.aside.join("data"), &data);
    });
    store
        .refuses("the id file is empty", || fs::write(store.place.path().join("keys/store-id"), "").unwrap());
    store.restore();
    assert!(store.start("nothing was done to it").is_ok());
}

#[test]
fn a_store_with_flipped_bits_or_cut_files_is_refused_or_whole() {
    let store = Whole::new(rounds(40, 300));
    let mut figures = Figures::new("copies with flipped bits, or files that were cut");
    let mut dice = Dice::new();
    let (mut refused, mut slowest) = (0, Duration::ZERO);
    for round in 0..rounds(12, 200) {
        figures.rounds += 1;
        store.restore();
        let damage = store.damage(round, &mut dice);
        figures.acknowledged += store.ended.len();
        match store.start(&damage) {
            Ok(lost) if lost > 0 => {
                figures.lost += lost;
                figures.note(&format!("{damage}: it forgot {lost}"));
            }
            Ok(_) => {}
            Err(Refused { after, .. }) => {
                refused += 1;
                slowest = slowest.max(after);
                if after >= END {
                    figures.hangs += 1;
                    figures.note(&format!("{damage}: it took {after:?} to end"));
                }
            }
        }
    }
    let whole = figures.rounds - refused;
    figures.note(&format!(
        "{whole} whole, {refused} refused with 3, the slowest after {} ms",
        slowest.as_millis()
    ));
    figures.show();
}

/// A store with revocations, and a copy of it to begin anew from.
struct Whole {
    place: Place,
    aside: PathBuf,
    ended: Vec<String>,
    living: String,
}

impl Whole {
    fn new(revocations: usize) -> Self {
        let place = Place::new();
        let serving = place.start();
        let mut talk = place.talk(&serving);
        let ended: Vec<_> = (0..revocations).map(|_| talk.token()).collect();
        for token in &ended {
            assert_eq!(talk.revoke(token).unwrap().status, 200);
        }
        let living = talk.token();
        drop(talk);
        serving.stop();
        // Leaves a snapshot that is used.
        place.start().stop();
        let aside = place.path().join("aside");
        for part in ["data", "keys"] {
            copy(&place.path().join(part), &aside.join(part));
        }
        Self { place, aside, ended, living }
    }

    fn restore(&self) {
        for part in ["data", "keys"] {
            let part = Path::new(part);
            let _ = fs::remove_dir_all(self.place.path().join(part));
            copy(&self.aside.join(part), &self.place.path().join(part));
        }
    }

    /// Does something to one of the files, and says what. The database is hit every second time: it is most of the store.
    fn damage(&self, round: usize, dice: &mut Dice) -> String {
        let mut files = files_below(&self.place.data());
        files.push(self.place.path().join("keys/store-id"));
        files.sort();
        let database = self.place.data().join("db");
        let file = if round.is_multiple_of(2) { &database } else { &files[round / 2 % files.len()] };
        let open = File::options().read(true).write(true).open(file).unwrap();
        // Where something was written; the rest of the database is zeros.
        let bytes = fs::read(file).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last as u64 + 1);
        let at = dice.below(used);
        let name = file.file_name().unwrap().to_string_lossy();
        match dice.below(4) {
            0 => {
                open.set_len(at).unwrap();
                format!("{name} cut at {at} of {used}")
            }
            1 => {
                let length = usize::try_from((used - at).min(512)).unwrap();
                open.write_all_at(&vec![0; length], at).unwrap();
                format!("{name} with {length} zeros at {at} of {used}")
            }
            _ => {
                let bit = dice.below(8);
                let old = bytes.get(usize::try_from(at).unwrap()).copied().unwrap_or_default();
                open.write_all_at(&[old ^ (1 << bit)], at).unwrap();
                format!("{name} with bit {bit} of byte {at} of {used} flipped")
            }
        }
    }

    fn refuses(&self, what: &str, damage: impl FnOnce()) {
        self.restore();
        damage();
        assert!(self.start(what).is_err(), "{what}: it was served");
    }

    /// How many revocations it forgot, if it was served; else it was refused as it should be.
    fn start(&self, what: &str) -> Result<usize, Refused> {
        match Serving::try_start(self.place.path()) {
            Ok(serving) => {
                let mut talk = self.place.talk(&serving);
                assert!(talk.is_active(&self.living), "{what}: it ended what lives");
                Ok(talk.active_of(&self.ended))
            }
            Err(refused) => {
                let complaint = &refused.complaint;
                assert_eq!(refused.code, Some(3), "{what}: {complaint}");
                assert_eq!(complaint.lines().count(), 1, "{what}: {complaint}");
                for words in ["the store at data is damaged", "a backup", "`certbound store init --forget`"] {
                    assert!(complaint.contains(words), "{what}: {complaint}");
                }
                Err(refused)
            }
        }
    }
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

fn database(data: &Path) -> File {
    File::options().read(true).write(true).open(data.join("db")).unwrap()
}

/// How much of the database was ever written; the rest of the last segment is zeros.
fn used(data: &Path) -> u64 {
    let bytes = fs::read(data.join("db")).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    last as u64 + 1
}
