//! kill -9: right after an answer, and at any moment under load.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::figures::{Dice, Figures, rounds};
use super::{Load, Place, Worked};
use crate::support::program::json;
use crate::support::server::eventually;

#[test]
fn a_revocation_that_was_answered_outlives_a_kill_within_a_millisecond() {
    let place = Place::new();
    let mut figures = Figures::new("kill -9 right after the 200 of a revocation");
    let mut serving = place.start();
    let (mut ended, mut living) = (Vec::new(), Vec::new());
    let mut within = 0;
    let rounds = rounds(20, 200);
    for _ in 0..rounds {
        figures.rounds += 1;
        let mut talk = place.talk(&serving);
        let (token, sister) = (talk.token(), talk.token());
        let answer = talk.revoke(&token);
        let answered = Instant::now();
        within += usize::from(serving.kill() - answered < Duration::from_millis(1));
        assert_eq!(answer.unwrap().status, 200);
        figures.acknowledged += 1;
        let Some(again) = figures.start(&place) else { return figures.show() };
        serving = again;
        let mut talk = place.talk(&serving);
        figures.lost += usize::from(talk.is_active(&token));
        assert!(talk.is_active(&sister), "round {} ended a token that nobody had revoked", figures.rounds);
        ended.push(token);
        living.push(sister);
    }
    figures.note(&format!("{within} kills came within a millisecond of the answer"));
    let mut talk = place.talk(&serving);
    figures.lost += talk.active_of(&ended);
    assert_eq!(talk.active_of(&living), rounds, "a later round lost an earlier token");
    let checked = json(0, place.path(), &["store", "check"]);
    assert_eq!(checked["revoked_tokens"], rounds);
    serving.kill();
    assert_eq!(json(0, place.path(), &["store", "check"]), checked, "with the socket of the dead beside it");
    figures.show();
}

#[test]
fn whenever_it_is_killed_every_answered_revocation_holds() {
    let place = Place::new();
    let mut figures = Figures::new("kill -9 at any moment under revocations and introspections");
    let mut dice = Dice::new();
    let mut serving = place.start();
    for _ in 0..rounds(5, 100) {
        figures.rounds += 1;
        let load = Load::default();
        let enough = usize::try_from(1 + dice.below(100)).unwrap();
        let talks: Vec<_> = (0..4).map(|_| place.talk(&serving)).collect();
        let workers = thread::scope(|scope| {
            let workers: Vec<_> = talks.into_iter().map(|talk| scope.spawn(|| load.work(talk))).collect();
            eventually("some revocations", || load.answered() >= enough);
            // By its id, so that the connections may stay with their threads.
            let killed = Command::new("sh").args(["-c", "kill -KILL \"$0\"", &serving.id()]).status();
            assert!(killed.unwrap().success());
            workers.into_iter().map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(serving.ends(), None, "it did not end by the signal");
        let Some(again) = figures.start(&place) else { return figures.show() };
        serving = again;
        let mut talk = place.talk(&serving);
        for Worked { sister, ended } in workers {
            figures.acknowledged += ended.len();
            figures.lost += talk.active_of(&ended);
            assert!(talk.is_active(&sister), "round {} ended what nobody had revoked", figures.rounds);
        }
    }
    figures.show();
}
