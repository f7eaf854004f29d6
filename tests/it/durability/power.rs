//! Power cuts. The server and everything it has is on an ext4 of its own; it is stopped at some moment under load, its disk
//! is copied as it is then, and the next server starts on the copy: what was only in memory is gone. What a disk holds in a
//! cache of its own is not modelled.

use std::thread;

use super::figures::{Dice, Figures, rounds};
use super::mounts::{Mount, copy_image, format};
use super::{Load, Place, Worked, run};
use crate::support::program::printed;
use crate::support::server::eventually;

/// Bytes of the disk: more than all rounds write.
const DISK: u64 = 192 << 20;

#[test]
fn a_power_cut_takes_nothing_that_was_answered() {
    let directory = tempfile::tempdir().unwrap();
    let disk = |round: usize| directory.path().join(format!("disk-{}", round % 2));
    format(&disk(0), DISK);
    let at = directory.path().join("mounted");
    let Some(mut mount) = Mount::image(&disk(0), &at) else { return };
    let place = Place::new().moved_to(mount.at());
    run("sync", &["-f", &at.display().to_string()]);

    let mut figures = Figures::new("power cuts at any moment under revocations and introspections");
    let mut dice = Dice::new();
    let mut all: Vec<String> = Vec::new();
    let mut serving = place.start();
    for round in 1..=rounds(3, 25) {
        figures.rounds += 1;
        let load = Load::default();
        let enough = usize::try_from(1 + dice.below(200)).unwrap();
        let talks: Vec<_> = (0..4).map(|_| place.talk(&serving)).collect();
        let workers = thread::scope(|scope| {
            let workers: Vec<_> = talks.into_iter().map(|talk| scope.spawn(|| load.work(talk))).collect();
            eventually("some revocations", || load.answered() >= enough);
            serving.freeze();
            copy_image(&disk(round - 1), &disk(round));
            serving.kill();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
        });
        drop(mount);
        let Some(next) = Mount::image(&disk(round), &at) else { return };
        mount = next;
        let Some(again) = figures.start(&place) else { break };
        serving = again;
        let mut talk = place.talk(&serving);
        // Those of earlier rounds: by their names, since there are many.
        let export = printed(0, place.path(), &["store", "export"]);
        let forgotten = all.iter().filter(|token| !export.contains(&jti(token))).count();
        figures.lost += forgotten;
        for Worked { sister, ended } in workers {
            figures.acknowledged += ended.len();
            figures.lost += talk.active_of(&ended);
            assert!(talk.is_active(&sister), "round {round} lost a signing key");
            all.extend(ended);
        }
    }
    figures.show();
    drop(mount);
}

/// The name of a token, as its payload has it.
fn jti(token: &str) -> String {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).unwrap();
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
    let payload: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    payload["jti"].as_str().unwrap().to_owned()
}
