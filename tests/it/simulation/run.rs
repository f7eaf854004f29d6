//! Takes the steps of a schedule, one after the other, and holds every answer against the oracle.

mod operator;

use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use certbound::authn::Presented;
use certbound::store::sled::Sled;
use serde_json::{Value, json};

use super::cast::{BEGIN, Who, card, cast};
use super::files::{Directory, FIRST, Files, ISSUER, SECOND};
use super::memory::Disk;
use super::model::{Active, Kept, Model, Sure, Token};
use super::outage::{Fault, Outage};
use super::schedule::{By, Confirm, Resource, Scope, Shows, Step};
use super::server::{Answer, Hands, Server, Store};
use crate::store_contract::Place as _;

/// Where the store is.
pub(super) enum Shelf {
    /// In this process; a crash of the server leaves it.
    Memory(Disk),
    /// On disk.
    Sled { path: PathBuf, id: PathBuf },
}

impl Shelf {
    fn open(&self, fault: &Arc<Fault>) -> Store {
        match self {
            Self::Memory(disk) => behind(disk.open(), fault),
            Self::Sled { path, id } => behind(Sled::open(path, id).unwrap().0, fault),
        }
    }
}

fn behind<S: certbound::store::TokenStore + certbound::store::evidence::Evidence + 'static>(
    store: S,
    fault: &Arc<Fault>,
) -> Store {
    let store = Arc::new(Outage { store, fault: Arc::clone(fault) });
    Store { tokens: Arc::<Outage<S>>::clone(&store), evidence: store }
}

/// What went wrong, and when.
#[derive(Debug)]
pub(super) struct Violation {
    pub(super) step: usize,
    pub(super) what: String,
    /// The schedule so far, a line for each step.
    pub(super) trail: String,
}

/// Takes all steps. `directory` is used up.
pub(super) async fn run(directory: &Directory, shelf: Shelf, steps: &[Step]) -> Result<(), Violation> {
    directory.clear();
    let files = Files::new();
    directory.write(&files, None);
    let fault = Arc::<Fault>::default();
    let clock = Arc::new(Hands::at(BEGIN));
    let mut run = Run {
        directory,
        shelf,
        files,
        model: Model::new(),
        fault,
        clock,
        server: None,
        trail: RefCell::default(),
    };
    let mut outcome = run.start().await;

    for (index, step) in steps.iter().enumerate() {
        if let Err(what) = outcome {
            return Err(Violation { step: index, what, trail: run.trail.take() });
        }
        run.note(format_args!("\n{:>3}  {}  {step:?}", index + 1, run.model.now));
        outcome = run.take(step).await;
    }
    outcome.map_err(|what| Violation { step: steps.len(), what, trail: run.trail.take() })
}

type Checked = Result<(), String>;

/// A violation unless it is so.
fn demand(is_so: bool, what: impl FnOnce() -> String) -> Checked {
    if is_so { Ok(()) } else { Err(what()) }
}

struct Run<'a> {
    directory: &'a Directory,
    shelf: Shelf,
    files: Files,
    model: Model,
    fault: Arc<Fault>,
    clock: Arc<Hands>,
    server: Option<Server>,
    trail: RefCell<String>,
}

impl Run<'_> {
    async fn take(&mut self, step: &Step) -> Checked {
        match *step {
            Step::Issue { client, shows, scope, resource } => {
                self.issue(client, self.shown(client, shows), scope, resource).await
            }
            Step::Introspect { token, reader, shows, confirm } => {
                let Some(token) = self.token(token) else { return Ok(()) };
                self.introspect(token, reader, self.shown(reader, shows), confirm).await
            }
            Step::Revoke { token, by, shows } => {
                let Some(token) = self.token(token) else { return Ok(()) };
                let who = match by {
                    By::Owner => self.model.tokens[token].who,
                    By::Other(who) => who,
                };
                self.revoke(token, who, self.shown(who, shows)).await
            }
            Step::RevokeAndDie { token, keeps } => {
                let Some(token) = self.token(token) else { return Ok(()) };
                self.revoke_and_die(token, keeps).await
            }
            Step::RevokeClient(who) => self.revoke_client(who).await,
            Step::Change { change, reload } => self.change(change, reload).await,
            Step::Reload => self.reload().await,
            Step::Minute => self.minute().await,
            Step::Second => self.every_second().await,
            Step::ForgetEvidence => self.forget_evidence().await,
            Step::Rotate { now } => self.rotate(now).await,
            Step::RemoveKey(number) => self.remove_key(number).await,
            Step::ReadKeySet => self.read_key_set().await,
            Step::Wait(moment) | Step::Jump(moment) => {
                self.set_clock(moment);
                Ok(())
            }
            Step::Crash => {
                self.crash();
                self.start().await
            }
            Step::StoreFails { keeps } => {
                self.fault.fail(keeps);
                Ok(())
            }
            Step::StoreHangsOnce { keeps } => {
                self.fault.hang_once(keeps);
                Ok(())
            }
            Step::StoreRecovers => {
                self.fault.recover();
                Ok(())
            }
            Step::AskAboutAll => self.ask_about_all().await,
        }
    }

    async fn issue(&mut self, who: Who, shown: Option<usize>, scope: Scope, resource: Resource) -> Checked {
        let mut form = vec![("grant_type", "client_credentials"), ("client_id", who.id())];
        match scope {
            Scope::Unsaid => {}
            Scope::Within => form.push(("scope", "read")),
            Scope::Beyond => form.push(("scope", "read admin")),
        }
        match resource {
            Resource::Unsaid => {}
            Resource::First => form.push(("resource", FIRST)),
            Resource::Second => form.push(("resource", SECOND)),
            Resource::Strange => form.push(("resource", "https://strange.example.com")),
        }
        let (is_proven, answer) = self.post("/token", &form, who, shown).await?;
        let Some(index) = shown.filter(|_| is_proven) else { return refused(&answer, 400) };
        let (expires_at, second_first) = self.model.terms(who, index);
        let mut errors = Vec::new();
        if Who::ISSUED.contains(&who) {
            errors.extend(matches!(scope, Scope::Beyond).then_some("invalid_scope"));
            errors.extend(matches!(resource, Resource::Strange).then_some("invalid_target"));
        } else {
            errors.push("unauthorized_client");
        }
        if !errors.is_empty() {
            return demand(answer.status == 400 && errors.contains(&answer.error().as_str()), || {
                format!("I1: {errors:?} was to be answered, and is {} {}", answer.status, answer.error())
            });
        }
        demand(answer.status == 200, || {
            format!("a client that is as it should be gets no token but {} {}", answer.status, answer.error())
        })?;
        let audience = match resource {
            Resource::Second => SECOND,
            Resource::Unsaid if second_first => SECOND,
            _ => FIRST,
        };
        let scope = if matches!(scope, Scope::Within) { "read" } else { "read write" };
        self.receive(who, index, &answer.json(), (audience, scope, expires_at.as_unix()))
    }

    /// Looks at a token (I2) and keeps it.
    fn receive(
        &mut self,
        who: Who,
        index: usize,
        answer: &Value,
        (audience, scope, expires_at): (&str, &str, i64),
    ) -> Checked {
        let jwt = answer["access_token"].as_str().unwrap_or_default();
        let parts: Vec<Value> = jwt.split('.').take(2).map(decoded).collect();
        let [header, claims] = parts.as_slice() else { return Err("I2: this is no JWT".to_owned()) };
        let now = self.model.now.as_unix();
        let wanted = json!({
            "iss": ISSUER, "sub": who.id(), "client_id": who.id(), "aud": audience, "scope": scope, "iat": now,
            "exp": expires_at, "jti": claims["jti"], "cnf": { "x5t#S256": card(index).thumbprint },
        });
        demand(*claims == wanted, || format!("I2: the claims are {claims}, not {wanted}"))?;
        demand(answer["expires_in"] == expires_at - now && answer["scope"] == scope, || {
            format!("the answer does not say what the token says: {answer}")
        })?;
        let kid = header["kid"].as_str().unwrap_or_default().to_owned();
        demand(header["typ"] == "at+jwt" && !self.model.removed_keys.contains(&kid), || {
            format!("the header of a token is {header}")
        })?;
        let token = Token::new(who, index, jwt.to_owned(), claims, kid);
        demand(self.model.tokens.iter().all(|other| other.jti != token.jti), || "a jti twice".to_owned())?;
        self.note(format_args!(" -> token #{} of {}", self.model.tokens.len(), card(index).name));
        self.model.issued(token);
        Ok(())
    }

    async fn introspect(
        &mut self,
        index: usize,
        reader: Who,
        shown: Option<usize>,
        confirm: Confirm,
    ) -> Checked {
        let token = &self.model.tokens[index];
        let (jwt, bound_to) = (token.jwt.clone(), card(token.card));
        let der = STANDARD.encode(&bound_to.der);
        let wrong = &cast().cards[(token.card + 1) % cast().cards.len()].thumbprint;
        let mut form = vec![("client_id", reader.id()), ("token", jwt.as_str())];
        form.extend(match confirm {
            Confirm::NotAsked => None,
            Confirm::RightThumbprint => Some(("x5t#S256", bound_to.thumbprint.as_str())),
            Confirm::RightCertificate => Some(("client_certificate", der.as_str())),
            Confirm::WrongThumbprint => Some(("x5t#S256", wrong.as_str())),
            Confirm::NoCertificate => Some(("client_certificate", "")),
        });
        let hangs = self.fault.will_hang();
        let (is_proven, answer) = self.post("/introspect", &form, reader, shown).await?;
        if !is_proven {
            return refused(&answer, if shown.is_some() { 401 } else { 400 });
        }
        let is_kept = self.kept(hangs) == Kept::Yes && !self.model.roll_due;
        let token = &self.model.tokens[index];
        let audience = match reader {
            Who::Gateway => FIRST,
            Who::Auditor => SECOND,
            Who::Billing | Who::Edge | Who::Meter => "",
        };
        let is_confirmed = !matches!(confirm, Confirm::WrongThumbprint | Confirm::NoCertificate);
        let (standing, may_know) = (self.model.is_active(token), is_confirmed && token.audience == audience);
        self.note(format_args!(" -> #{index} {standing:?}, {}", answer.status));
        if answer.status == 503 {
            return demand(!is_kept && answer.head.contains("retry-after: 5"), || {
                "I5: introspection answers 503 though the store is well".to_owned()
            });
        }
        demand(answer.status == 200, || format!("I5: introspection answers {}", answer.status))?;
        if answer.body != br#"{"active":false}"# {
            demand(!self.fault.is_down(), || format!("I7: token #{index} is active and the store is down"))?;
            demand(standing != Active::No, || {
                format!("I3 or I4: token #{index} is active and must not be{}", self.why_not(token))
            })?;
            demand(may_know, || format!("I4: {} hears of token #{index}", reader.id()))?;
            return demand(answer.json() == told(token), || {
                format!("I4: introspection says {}", String::from_utf8_lossy(&answer.body))
            });
        }
        let must_know = standing == Active::Yes && (may_know || self.fault.is_down());
        let says_why = answer.lines.first().and_then(|line| line.cause.clone()).unwrap_or_default();
        demand(!must_know, || {
            format!("I7, or too strict: token #{index} is good and called inactive: {says_why}")
        })?;
        if may_know {
            self.model.was_inactive(index);
        }
        Ok(())
    }

    fn why_not(&self, token: &Token) -> String {
        format!(
            " (issued {}, ends {}, revoked: {:?}, readable: {:?})",
            token.issued_at,
            token.expires_at,
            token.revoked,
            self.model.is_readable(token)
        )
    }

    /// What a resource server knows in the end: of every token, from whoever may know.
    async fn ask_about_all(&mut self) -> Checked {
        for index in 0..self.model.tokens.len() {
            let first = self.model.tokens[index].audience == FIRST;
            let reader = if first { Who::Gateway } else { Who::Auditor };
            self.introspect(index, reader, Some(reader.cards().start), Confirm::NotAsked).await?;
        }
        Ok(())
    }

    async fn revoke(&mut self, index: usize, who: Who, shown: Option<usize>) -> Checked {
        let jwt = self.model.tokens[index].jwt.clone();
        let form = [("client_id", who.id()), ("token", jwt.as_str())];
        let hangs = self.fault.will_hang();
        let (is_proven, answer) = self.post("/revoke", &form, who, shown).await?;
        if !is_proven {
            return refused(&answer, 400);
        }
        let kept = self.kept(hangs);
        self.note(format_args!(" -> #{index}, {}", answer.status));
        let token = &self.model.tokens[index];
        let (is_own, readable) = (token.who == who, self.model.can_end(token));
        match answer.status {
            400 => demand(!is_own && readable != Sure::No && answer.error() == "invalid_grant", || {
                format!("revoking token #{index} is answered 400 {}", answer.error())
            }),
            200 => {
                let must_fail = !is_own && readable == Sure::Yes;
                demand(!must_fail, || format!("{} may revoke token #{index} of another", who.id()))?;
                demand(kept == Kept::Yes || readable != Sure::Yes || !self.fault.is_down(), || {
                    "I7: a revoke is answered 200 and the store is down".to_owned()
                })?;
                match readable {
                    Sure::Yes => self.model.tokens[index].revoked = Sure::Yes,
                    Sure::Perhaps if is_own => self.perhaps_revoked(index),
                    Sure::Perhaps | Sure::No => {}
                }
                Ok(())
            }
            503 => {
                demand(kept == Kept::NotSaid && is_own, || "I5: a revoke is answered 503".to_owned())?;
                self.perhaps_revoked(index);
                Ok(())
            }
            status => Err(format!("I5: a revoke is answered {status}")),
        }
    }

    /// The store hangs while it is told, with the write kept or not, and the server dies.
    async fn revoke_and_die(&mut self, index: usize, keeps: bool) -> Checked {
        let token = &self.model.tokens[index];
        let (who, shown) = (token.who, self.shown(token.who, Shows::Right));
        let form = [("client_id", who.id()), ("token", token.jwt.as_str())];
        self.fault.hang_once(keeps);
        let presented = presented(shown);
        let server = self.server.as_ref().expect("it runs");
        server.post_unanswered("/revoke", &form, &presented).await;
        self.fault.recover();
        if self.model.is_proven(who, shown) {
            self.perhaps_revoked(index);
            self.model.saw(who, shown.expect("it is proven"), Kept::NotSaid);
        }
        self.crash();
        self.start().await
    }

    fn perhaps_revoked(&mut self, index: usize) {
        let revoked = &mut self.model.tokens[index].revoked;
        if *revoked == Sure::No {
            *revoked = Sure::Perhaps;
        }
    }

    // What requests have in common.

    /// Sends the form and looks at what holds for every answer (I5, I6). Says whether the client had to be let in.
    async fn post(
        &mut self,
        path: &str,
        form: &[(&str, &str)],
        who: Who,
        shown: Option<usize>,
    ) -> Result<(bool, Answer), String> {
        let hangs = self.fault.will_hang();
        let answer = self.server().post(path, form, &presented(shown)).await?;
        let is_proven = self.model.is_proven(who, shown);
        if let Some(card) = shown.filter(|_| is_proven) {
            let kept = self.kept(hangs);
            self.model.saw(who, card, kept);
        }
        let status = answer.status;
        if status == 400 || status == 401 {
            self.note(format_args!(" -> {status} {}", answer.error()));
        }
        demand(status < 500 || status == 503 && path != "/token", || format!("I5: {path} answers {status}"))?;
        demand(answer.head.contains("cache-control: no-store"), || {
            format!("{path} answers what may be stored: {}", answer.head)
        })?;
        let [line] = answer.lines.as_slice() else {
            return Err(format!("I6: {} lines are logged of one request", answer.lines.len()));
        };
        let is_refused = answer.error() == "invalid_client";
        demand(
            line.status == u64::from(status)
                && (line.reason.is_some() == is_refused)
                && (line.client_id.as_deref() == is_proven.then_some(who.id())),
            || {
                let wanted = if is_proven { "let in" } else { "refused" };
                format!("I1 or I6: {} was to be {wanted}; {status}, and the log says {line:?}", who.id())
            },
        )?;
        let reference = line.reference.clone().unwrap_or_default();
        demand(!is_refused || String::from_utf8_lossy(&answer.body).contains(&reference), || {
            "I6: the answer and the log have different references".to_owned()
        })?;
        Ok((is_proven, answer))
    }

    fn server(&mut self) -> &mut Server {
        self.server.as_mut().expect("it runs between two steps")
    }

    /// What is certain of a write that was just made; `hung` says whether one was to hang.
    fn kept(&self, hung: bool) -> Kept {
        if self.fault.is_down() || hung && !self.fault.will_hang() { Kept::NotSaid } else { Kept::Yes }
    }

    /// The last tokens are of most interest.
    fn token(&self, number: u64) -> Option<usize> {
        let count = u64::try_from(self.model.tokens.len()).unwrap();
        let among = if number & 1 == 0 { count.min(3) } else { count };
        let back = (number >> 1).checked_rem(among)?;
        usize::try_from(count - 1 - back).ok()
    }

    fn shown(&self, who: Who, shows: Shows) -> Option<usize> {
        match shows {
            Shows::Nothing => None,
            Shows::Card(number) => Some(usize::try_from(number).unwrap() % cast().cards.len()),
            Shows::Right => {
                let good: Vec<_> =
                    who.cards().filter(|index| self.model.is_proven(who, Some(*index))).collect();
                let own = who.cards().start;
                Some(good.get(self.model.tokens.len() % good.len().max(1)).copied().unwrap_or(own))
            }
        }
    }

    fn note(&self, text: std::fmt::Arguments<'_>) {
        let _ = self.trail.borrow_mut().write_fmt(text);
    }
}

fn presented(shown: Option<usize>) -> Presented {
    shown.map_or(Presented::Nothing, |index| card(index).presented.clone())
}

/// One body for every reason.
fn refused(answer: &Answer, status: u16) -> Checked {
    let body = answer.json();
    let description = body["error_description"].as_str().unwrap_or_default();
    let is_the_one = answer.status == status
        && body["error"] == "invalid_client"
        && description.starts_with("Client authentication failed (ref ")
        && body.as_object().is_some_and(|members| members.len() == 2);
    demand(is_the_one, || {
        format!("I1: {status} invalid_client was to be answered, and is {} {body}", answer.status)
    })
}

/// What introspection says of an active token, and nothing else.
fn told(token: &Token) -> Value {
    json!({
        "active": true, "scope": token.scope, "client_id": token.who.id(), "token_type": "Bearer",
        "exp": token.expires_at.as_unix(), "iat": token.issued_at.as_unix(), "sub": token.who.id(),
        "aud": token.audience, "iss": ISSUER, "jti": token.jti,
        "cnf": { "x5t#S256": card(token.card).thumbprint },
    })
}

fn decoded(part: &str) -> Value {
    let json = URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
    serde_json::from_slice(&json).unwrap_or_default()
}
