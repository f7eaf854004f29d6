//! What the operator and the hours do to a server: its start and its end, its files, its keys, its clock.

use std::sync::Arc;

use serde_json::json;

use super::{Checked, Run, demand};
use crate::simulation::cast::{BEGIN, DAY, Who, at};
use crate::simulation::model::{Kept, Sure};
use crate::simulation::schedule::Change;
use crate::simulation::server::Server;

impl Run<'_> {
    /// Starts it; on files that are not whole it must not start, and somebody mends them.
    pub(super) async fn start(&mut self) -> Checked {
        if !self.files.are_whole() {
            let started = self.try_start().await;
            demand(!started, || "I7: the server started on broken files".to_owned())?;
            let before = self.files.clone();
            self.files.mend();
            self.directory.write(&self.files, Some(&before));
            self.note(format_args!("; does not start, and the files are mended"));
        }
        let hangs = self.fault.will_hang();
        let started = self.try_start().await;
        demand(started, || "the server does not start".to_owned())?;
        self.model.reload(&self.files);
        self.model.take_the_roll(self.kept(hangs));
        Ok(())
    }

    pub(super) async fn try_start(&mut self) -> bool {
        let store = self.shelf.open(&self.fault);
        match Server::start(self.directory, store, Arc::clone(&self.clock)).await {
            Ok(server) => {
                self.server = Some(server);
                true
            }
            Err(problems) => {
                self.note(format_args!("; {:?}", problems.0.first().map(|problem| &problem.what)));
                false
            }
        }
    }

    pub(super) fn crash(&mut self) {
        self.server = None;
        self.model.crash();
    }

    pub(super) async fn change(&mut self, change: Change, reload: bool) -> Checked {
        let before = self.files.clone();
        self.files.change(change);
        self.directory.write(&self.files, Some(&before));
        if reload { self.reload().await } else { Ok(()) }
    }

    pub(super) async fn reload(&mut self) -> Checked {
        let hangs = self.fault.will_hang();
        let answer = self.server().control("POST", "reload/files", "").await?;
        demand(answer.status == 200, || format!("a reload was answered {}", answer.status))?;
        let is_well = answer.json()["ok"] == true;
        let kept = self.kept(hangs);
        self.model.reload(&self.files);
        self.model.take_the_roll(kept);
        demand(is_well == self.files.are_whole(), || {
            format!("I7: a reload says {}", String::from_utf8_lossy(&answer.body))
        })
    }

    pub(super) async fn minute(&mut self) -> Checked {
        self.server().every_minute().await;
        self.model.sweep();
        self.model.keys_change();
        Ok(())
    }

    pub(super) async fn every_second(&mut self) -> Checked {
        let (now, hangs) = (self.model.now, self.fault.will_hang());
        let is_kept = self.server().every_second(now).await;
        if self.model.roll_due {
            let kept = self.kept(hangs);
            self.model.take_the_roll(kept);
        }
        if self.fault.is_down() {
            return Ok(());
        }
        self.model.flushed();
        demand(is_kept, || "what was seen is not written though the store is well".to_owned())
    }

    pub(super) async fn forget_evidence(&mut self) -> Checked {
        let now = self.model.now;
        self.server().forget_evidence(now).await;
        self.model.evidence_forgotten();
        Ok(())
    }

    pub(super) fn set_clock(&mut self, by: i64) {
        let later = self.model.now.as_unix() + by - BEGIN.as_unix();
        let now = at(later.clamp(-20 * DAY, 2500 * DAY));
        self.clock.set(now);
        self.model.set_clock(now);
    }

    pub(super) async fn revoke_client(&mut self, who: Who) -> Checked {
        let (at, hangs) = (self.model.now, self.fault.will_hang());
        let (clock, path) = (Arc::clone(&self.clock), format!("clients/{}/revoke", who.id()));
        let answer = self.server().control_in_time(&clock, "POST", &path).await?;
        let kept = self.kept(hangs);
        let wanted = if kept == Kept::Yes { 200 } else { 503 };
        demand(answer.status == wanted, || {
            format!("ending a client's tokens is answered {}", answer.status)
        })?;
        self.model.end_client(who, at, kept);
        let now = certbound::clock::Clock::now(&*self.clock);
        self.model.set_clock(now);
        Ok(())
    }

    pub(super) async fn rotate(&mut self, now: bool) -> Checked {
        let body = json!({ "now": now }).to_string();
        let answer = self.server().control("POST", "keys/rotate", &body).await?;
        self.model.keys_change();
        demand(answer.status == 200, || format!("a rotation is answered {}", answer.status))
    }

    pub(super) async fn remove_key(&mut self, number: u64) -> Checked {
        let listed = self.server().control("GET", "keys", "").await?.json();
        let keys = listed["keys"].as_array().cloned().unwrap_or_default();
        demand(!keys.is_empty(), || "there is no signing key".to_owned())?;
        let index = usize::try_from(number % u64::try_from(keys.len()).unwrap()).unwrap();
        let kid = keys[index]["kid"].as_str().unwrap_or_default().to_owned();
        let answer = self.server().control("DELETE", &format!("keys/{kid}"), "").await?;
        demand(answer.status == 204, || format!("the removal of a key is answered {}", answer.status))?;
        self.note(format_args!(" -> {}", keys[index]["state"]));
        self.model.removed_keys.insert(kid);
        self.model.keys_change();
        Ok(())
    }

    /// No key that was removed, and every key that somebody needs.
    pub(super) async fn read_key_set(&mut self) -> Checked {
        let answer = self.server().get("/jwks").await?;
        demand(answer.status == 200, || format!("I7: the key set is answered {}", answer.status))?;
        let set = answer.json();
        let keys = set["keys"].as_array().cloned().unwrap_or_default();
        demand(keys.iter().all(|key| key.get("d").is_none()), || "a private key is published".to_owned())?;
        let kids: Vec<_> = keys.iter().filter_map(|key| key["kid"].as_str()).collect();
        let removed = kids.iter().find(|kid| self.model.removed_keys.contains(**kid));
        demand(removed.is_none(), || "I4: a key that was removed is published".to_owned())?;
        let mut needed = self.model.tokens.iter().filter(|token| self.model.is_readable(token) == Sure::Yes);
        demand(needed.all(|token| kids.contains(&token.kid.as_str())), || {
            "the key of a token that lives is not published".to_owned()
        })
    }
}
