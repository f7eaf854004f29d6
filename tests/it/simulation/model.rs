//! The oracle: what is true in a schedule, said in sets and without a line of the server's. Who is registered with what,
//! what has ended, what was seen, what time it is; and from these what every answer has to be.
//!
//! Where a store that failed may have kept a write, where a crash may have lost what was never acknowledged, and where a
//! clock that went back confuses the schedule of the keys, either answer is right. That is said here, and nowhere else.

use std::collections::{BTreeMap, BTreeSet};

use certbound::clock::Timestamp;

use super::cast::{BEGIN, Ca, DAY, HOUR, List, Who, card, seconds};
use super::files::{Files, Registration, dns_of};

/// A token that was issued.
pub(super) struct Token {
    pub(super) who: Who,
    pub(super) card: usize,
    pub(super) jwt: String,
    pub(super) jti: String,
    pub(super) kid: String,
    pub(super) audience: String,
    pub(super) scope: String,
    pub(super) issued_at: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) revoked: Sure,
    /// Its client was gone for too long and came back; perhaps: the store has not said that it knows.
    left: Sure,
    /// The clock went back since; and then keys were made or removed, which may be in another order now.
    key_in_doubt: Sure,
}

/// How sure something is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sure {
    No,
    Perhaps,
    Yes,
}

/// Whether the store took something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kept {
    Yes,
    NotSaid,
}

/// What the store has to know of a client that comes and goes.
#[derive(Clone, Copy, Default)]
struct Presence {
    was_there: bool,
    gone_since: Option<Timestamp>,
}

/// What is true.
pub(super) struct Model {
    pub(super) now: Timestamp,
    /// In force, disabled ones too.
    live: BTreeMap<Who, Registration>,
    corp: u8,
    partner: u8,
    list: Option<List>,
    pub(super) tokens: Vec<Token>,
    pub(super) removed_keys: BTreeSet<String>,
    /// Every token of a client with `iat` up to here has ended.
    ended: BTreeMap<Who, Timestamp>,
    /// The same, as far as it may be so.
    perhaps_ended: BTreeMap<Who, Timestamp>,
    presence: BTreeMap<Who, Presence>,
    presence_for_good: BTreeMap<Who, Presence>,
    pub(super) roll_due: bool,
    /// What the store has of comings and goings is not what happened, since the last crash.
    roll_in_doubt: bool,
    /// Certificates behind tokens: in memory, and in the store.
    seen: BTreeSet<(Who, usize)>,
    durable: BTreeSet<(Who, usize)>,
    sights_wait: bool,
    /// The latest moment at which the store forgot.
    swept: Timestamp,
}

/// What is to be said of a token.
pub(super) use Sure as Active;

impl Model {
    pub(super) fn new() -> Self {
        Self {
            now: BEGIN,
            live: BTreeMap::new(),
            corp: 0,
            partner: 0,
            list: None,
            tokens: Vec::new(),
            removed_keys: BTreeSet::new(),
            ended: BTreeMap::new(),
            perhaps_ended: BTreeMap::new(),
            presence: BTreeMap::new(),
            presence_for_good: BTreeMap::new(),
            roll_due: true,
            roll_in_doubt: false,
            seen: BTreeSet::new(),
            durable: BTreeSet::new(),
            sights_wait: false,
            swept: Timestamp::from_unix(0),
        }
    }

    // What happens.

    /// Nothing is in force that was, and what was only in memory is gone.
    pub(super) fn crash(&mut self) {
        self.live.clear();
        self.list = None;
        self.seen.clear();
        self.sights_wait = false;
        for token in self.tokens.iter_mut().filter(|token| token.left == Sure::Perhaps) {
            token.left = Sure::No;
        }
        self.roll_in_doubt |= self.roll_due;
        self.presence = self.presence_for_good.clone();
        self.roll_due = true;
    }

    /// The server reads its files; what is broken keeps what it had.
    pub(super) fn reload(&mut self, files: &Files) {
        for (who, file) in &files.documents {
            match file {
                super::files::File::Good(registration) => drop(self.live.insert(*who, *registration)),
                super::files::File::Absent => drop(self.live.remove(who)),
                super::files::File::Broken => {}
            }
        }
        if let (Some(corp), Some(partner)) = (files.corp.good(), files.partner.good()) {
            (self.corp, self.partner) = (corp, partner);
        }
        self.list = files.list.good().or(self.list);
    }

    /// The store is told who is there.
    pub(super) fn take_the_roll(&mut self, kept: Kept) {
        for who in Who::ALL {
            let is_there = self.is_enabled(who);
            let presence = self.presence.entry(who).or_default();
            if is_there {
                let away = presence.gone_since.map(|since| self.now.since(since).max(since.since(self.now)));
                if away.is_some_and(|away| away >= seconds(5)) {
                    let now = self.now;
                    let is_earlier = |token: &&mut Token| {
                        token.who == who && token.issued_at <= now && token.left == Sure::No
                    };
                    for token in self.tokens.iter_mut().filter(is_earlier) {
                        token.left = Sure::Perhaps;
                    }
                    // And perhaps what comes in the same second.
                    raise(&mut self.perhaps_ended, who, now);
                }
                *presence = Presence { was_there: true, gone_since: None };
            } else if presence.was_there {
                presence.gone_since.get_or_insert(self.now);
            }
        }
        self.roll_due = kept == Kept::NotSaid;
        if kept == Kept::Yes {
            for token in self.tokens.iter_mut().filter(|token| token.left == Sure::Perhaps) {
                token.left = Sure::Yes;
            }
            self.presence_for_good = self.presence.clone();
            if std::mem::take(&mut self.roll_in_doubt) {
                // Whoever is there may have been thought to be gone.
                for who in Who::ALL {
                    raise(&mut self.perhaps_ended, who, self.now);
                }
            }
        }
    }

    pub(super) fn sweep(&mut self) {
        self.swept = self.swept.max(self.now);
    }

    pub(super) fn end_client(&mut self, who: Who, at: Timestamp, kept: Kept) {
        match kept {
            Kept::Yes => raise(&mut self.ended, who, at),
            Kept::NotSaid => raise(&mut self.perhaps_ended, who, at),
        }
    }

    pub(super) fn set_clock(&mut self, now: Timestamp) {
        if now < self.now {
            for token in self.tokens.iter_mut().filter(|token| token.key_in_doubt == Sure::No) {
                token.key_in_doubt = Sure::Perhaps;
            }
        }
        self.now = now;
    }

    pub(super) fn keys_change(&mut self) {
        for token in self.tokens.iter_mut().filter(|token| token.key_in_doubt == Sure::Perhaps) {
            token.key_in_doubt = Sure::Yes;
        }
    }

    /// A client was let in with this card.
    pub(super) fn saw(&mut self, who: Who, card: usize, kept: Kept) {
        self.seen.insert((who, card));
        self.sights_wait |= kept == Kept::NotSaid;
        if !self.sights_wait {
            self.durable.insert((who, card));
        }
    }

    /// What waited is written.
    pub(super) fn flushed(&mut self) {
        self.sights_wait = false;
        self.durable.extend(self.seen.iter().copied());
    }

    /// Old sightings are forgotten: long before anything in the cast is that old, nothing is.
    pub(super) fn evidence_forgotten(&mut self) {
        if self.now.since(BEGIN) > seconds(300 * DAY) {
            self.durable.clear();
        }
    }

    pub(super) fn issued(&mut self, token: Token) {
        self.tokens.push(token);
    }

    // What has to be said.

    fn is_enabled(&self, who: Who) -> bool {
        self.live.get(&who).is_some_and(|registration| registration.enabled)
    }

    /// Whether the peer that shows this card is that client (I1).
    pub(super) fn is_proven(&self, who: Who, shown: Option<usize>) -> bool {
        let (Some(index), true) = (shown, self.is_enabled(who)) else { return false };
        let is_current = card(index).ca.is_none()
            || who != Who::Billing
            || self.list.is_some_and(|list| list.is_current(self.now) && !list.has(index));
        self.is_registered(who, index) && card(index).lets_in(self.now) && is_current
    }

    /// Whether the card is one that the registration names, and its CA is trusted.
    fn is_registered(&self, who: Who, index: usize) -> bool {
        let Some(registration) = self.live.get(&who) else { return false };
        let card = card(index);
        match who {
            Who::Meter | Who::Gateway | Who::Auditor => {
                who.cards().contains(&index) && registration.rule & (1 << (index - who.cards().start)) != 0
            }
            Who::Billing | Who::Edge => {
                self.trusts(who, card.ca) && card.dns == dns_of(who, registration.rule)
            }
        }
    }

    fn trusts(&self, who: Who, ca: Option<Ca>) -> bool {
        match (who, ca) {
            (Who::Billing, Some(Ca::Corp)) => self.corp & 1 != 0,
            (Who::Billing, Some(Ca::CorpNext)) => self.corp & 2 != 0,
            (Who::Edge, Some(Ca::Partner)) => self.partner & 1 != 0,
            (Who::Edge, Some(Ca::PartnerNext)) => self.partner & 2 != 0,
            _ => false,
        }
    }

    /// What a proven client gets: `exp`, the audiences that it may ask for, the first of them its own.
    pub(super) fn terms(&self, who: Who, card_index: usize) -> (Timestamp, bool) {
        let registration = &self.live[&who];
        let expires_at = self.now.plus(seconds(registration.lifetime)).min(card(card_index).not_after);
        (expires_at, registration.second)
    }

    /// Whether a token is ours and in time.
    pub(super) fn is_readable(&self, token: &Token) -> Sure {
        let has_begun = token.issued_at <= self.now.plus(seconds(10));
        if has_begun { self.can_end(token) } else { Sure::No }
    }

    /// Whether a token can be ended; one that is not valid yet can. To one that has expired nothing is done, and 200 says
    /// that it has (RFC 7009 §2.2).
    pub(super) fn can_end(&self, token: &Token) -> Sure {
        match () {
            () if token.expires_at <= self.now || self.removed_keys.contains(&token.kid) => Sure::No,
            () if token.key_in_doubt == Sure::Yes => Sure::Perhaps,
            () => Sure::Yes,
        }
    }

    /// Whether a token is active, to whoever may know (I3, I4).
    pub(super) fn is_active(&self, token: &Token) -> Active {
        let readable = self.is_readable(token);
        let ended =
            |ends: &BTreeMap<Who, Timestamp>| ends.get(&token.who).is_some_and(|at| token.issued_at <= *at);
        if readable == Sure::No
            || !self.is_enabled(token.who)
            || token.revoked == Sure::Yes
            || token.left != Sure::No
            || ended(&self.ended)
        {
            return Active::No;
        }
        let stands = self.stands(token);
        let in_doubt = stands == Sure::Perhaps
            || readable == Sure::Perhaps
            || token.revoked == Sure::Perhaps
            || ended(&self.perhaps_ended)
            // What was forgotten has ended everything that was issued until then.
            || token.issued_at <= self.swept.minus(seconds(25 * HOUR));
        match stands {
            Sure::No => Active::No,
            _ if in_doubt => Active::Perhaps,
            _ => Active::Yes,
        }
    }

    /// Whether the certificate behind a token would still be its client's. An unknown revocation status ends nothing.
    fn stands(&self, token: &Token) -> Sure {
        let index = token.card;
        let is_registered = self.is_registered(token.who, index);
        if token.who == Who::Meter {
            return if is_registered { Sure::Yes } else { Sure::No };
        }
        let requires = token.who == Who::Billing;
        let is_revoked = requires && self.list.is_some_and(|list| list.has(index));
        let good = is_registered && card(index).is_valid(self.now) && !is_revoked;
        let is_known = self.seen.contains(&(token.who, index)) || self.durable.contains(&(token.who, index));
        match (good, is_known) {
            (true, true) => Sure::Yes,
            (false, true) => Sure::No,
            // Nobody who is there knows the certificate, unless the store kept it all the same.
            (false, false) if requires => Sure::No,
            (_, false) => Sure::Perhaps,
        }
    }

    /// An answer says that the token has ended: if only a write that nobody answered could have done that, it was kept.
    pub(super) fn was_inactive(&mut self, index: usize) {
        let token = &mut self.tokens[index];
        if token.revoked == Sure::Perhaps {
            token.revoked = Sure::No;
            let otherwise = self.is_active(&self.tokens[index]);
            self.tokens[index].revoked = if otherwise == Active::Yes { Sure::Yes } else { Sure::Perhaps };
        }
    }
}

impl Token {
    /// As its claims and its header say.
    pub(super) fn new(who: Who, card: usize, jwt: String, claims: &serde_json::Value, kid: String) -> Self {
        let text = |name: &str| claims[name].as_str().unwrap_or_default().to_owned();
        let moment = |name: &str| Timestamp::from_unix(claims[name].as_i64().unwrap_or_default());
        Self {
            who,
            card,
            jwt,
            jti: text("jti"),
            kid,
            audience: text("aud"),
            scope: text("scope"),
            issued_at: moment("iat"),
            expires_at: moment("exp"),
            revoked: Sure::No,
            left: Sure::No,
            key_in_doubt: Sure::No,
        }
    }
}

fn raise(ends: &mut BTreeMap<Who, Timestamp>, who: Who, at: Timestamp) {
    let known = ends.entry(who).or_insert(at);
    *known = at.max(*known);
}
