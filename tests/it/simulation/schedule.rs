//! What happens in one schedule: steps that a seed decides. What a step names it names by numbers that mean something in
//! whatever state it meets, so that a schedule stays one when steps are taken out of it.

use super::cast::{DAY, HOUR, MINUTE, Who};
use super::random::Random;

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A client asks for a token.
    Issue {
        client: Who,
        shows: Shows,
        scope: Scope,
        resource: Resource,
    },
    /// A resource server asks about a token.
    Introspect {
        token: u64,
        reader: Who,
        shows: Shows,
        confirm: Confirm,
    },
    /// A client ends a token; another's, perhaps.
    Revoke {
        token: u64,
        by: By,
        shows: Shows,
    },
    /// The same, and the server dies before it has answered.
    RevokeAndDie {
        token: u64,
        keeps: bool,
    },
    /// An operator ends all tokens of a client.
    RevokeClient(Who),
    /// An operator changes a file, and perhaps tells the server.
    Change {
        change: Change,
        reload: bool,
    },
    /// The server reads its files again.
    Reload,
    /// What happens every minute: rotation, forgetting.
    Minute,
    /// What happens every second: what was seen, and who was there, goes to the store.
    Second,
    /// What happens every hour: the store forgets what was seen long ago.
    ForgetEvidence,
    Rotate {
        now: bool,
    },
    RemoveKey(u64),
    ReadKeySet,
    /// The clock goes on.
    Wait(i64),
    /// The clock is set, forwards or backwards.
    Jump(i64),
    /// Everything in memory is gone, and the server starts again.
    Crash,
    StoreFails {
        keeps: bool,
    },
    /// The next call of the store is never answered.
    StoreHangsOnce {
        keeps: bool,
    },
    StoreRecovers,
    /// A resource server asks about every token.
    AskAboutAll,
}

/// The certificate of the connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shows {
    /// One that should do, if there is one.
    Right,
    /// Any of the cast.
    Card(u64),
    Nothing,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Scope {
    Unsaid,
    Within,
    Beyond,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Resource {
    Unsaid,
    First,
    Second,
    Strange,
}

/// What a resource server says it saw.
#[derive(Clone, Copy, Debug)]
pub(super) enum Confirm {
    NotAsked,
    RightThumbprint,
    RightCertificate,
    WrongThumbprint,
    NoCertificate,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum By {
    Owner,
    Other(Who),
}

/// What becomes of a file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Enable(Who),
    Disable(Who),
    Remove(Who),
    /// Writes a document; what it says is decided by the number.
    Register(Who, u64),
    Break(Who),
    /// The anchors of `corp` or `partner`: a bit for each CA.
    Anchors {
        corp: bool,
        mask: u8,
    },
    BreakAnchors {
        corp: bool,
    },
    /// Another list that revokes these.
    List {
        revoked: u8,
        short: bool,
    },
    BreakList,
    RemoveList,
}

/// The schedule of a seed.
pub(super) fn schedule(seed: u64) -> Vec<Step> {
    let mut random = Random::new(seed);
    // Most of what goes wrong goes wrong in a few steps; some of it needs many.
    let count = if random.chance(90) { 3 + random.below(4) } else { 20 + random.below(12) };
    // What happens to one client, one after the other, is of more interest than what happens to several.
    let favourite = random.pick(&Who::ISSUED);
    let mut steps = Vec::new();
    for _ in 0..count {
        steps.push(step(&mut random, favourite));
        if random.chance(1) {
            // A clock that runs ahead for a while.
            steps.extend([Step::Jump(26 * HOUR), Step::Minute, Step::Jump(-25 * HOUR)]);
        }
    }
    steps.extend([Step::StoreRecovers, Step::Second]);
    if random.chance(8) {
        steps.push(Step::Crash);
    }
    steps.push(Step::AskAboutAll);
    steps
}

fn step(random: &mut Random, favourite: Who) -> Step {
    match random.below(1000) {
        0..260 => Step::Issue {
            client: who(random, favourite),
            shows: shows(random),
            scope: random.pick(&[Scope::Unsaid, Scope::Unsaid, Scope::Within, Scope::Within, Scope::Beyond]),
            resource: random.pick(&[
                Resource::Unsaid,
                Resource::Unsaid,
                Resource::First,
                Resource::First,
                Resource::Second,
                Resource::Strange,
            ]),
        },
        260..540 => Step::Introspect {
            token: random.below(1 << 32),
            reader: match random.below(100) {
                0..75 => Who::Gateway,
                75..90 => Who::Auditor,
                _ => random.pick(&Who::ALL),
            },
            shows: if random.chance(90) { Shows::Right } else { shows(random) },
            confirm: random.pick(&[
                Confirm::NotAsked,
                Confirm::NotAsked,
                Confirm::NotAsked,
                Confirm::RightThumbprint,
                Confirm::RightCertificate,
                Confirm::WrongThumbprint,
                Confirm::NoCertificate,
            ]),
        },
        540..625 => Step::Revoke {
            token: random.below(1 << 32),
            by: if random.chance(80) { By::Owner } else { By::Other(random.pick(&Who::ALL)) },
            shows: if random.chance(90) { Shows::Right } else { shows(random) },
        },
        625..632 => Step::RevokeAndDie { token: random.below(1 << 32), keeps: random.chance(50) },
        632..650 => Step::RevokeClient(issued(random, favourite)),
        650..745 => Step::Change { change: change(random, favourite), reload: random.chance(70) },
        745..765 => Step::Reload,
        765..805 => Step::Minute,
        805..830 => Step::Second,
        830..833 => Step::ForgetEvidence,
        833..848 => Step::Rotate { now: random.chance(50) },
        848..858 => Step::RemoveKey(random.below(1 << 32)),
        858..873 => Step::ReadKeySet,
        873..923 => Step::Wait(random.pick(&[1, 3, 5, 6, 20, 59, MINUTE, 4 * MINUTE, 5 * MINUTE])),
        923..948 => Step::Jump(random.pick(&[
            -DAY,
            -HOUR,
            -MINUTE,
            -8,
            -2,
            30 * MINUTE,
            HOUR,
            25 * HOUR,
            26 * HOUR,
            30 * DAY,
            500 * DAY,
        ])),
        948..963 => Step::Crash,
        963..982 => Step::StoreFails { keeps: random.chance(50) },
        982..983 => Step::StoreHangsOnce { keeps: random.chance(50) },
        _ => Step::StoreRecovers,
    }
}

fn shows(random: &mut Random) -> Shows {
    match random.below(100) {
        0..75 => Shows::Right,
        75..95 => Shows::Card(random.below(1 << 32)),
        _ => Shows::Nothing,
    }
}

fn issued(random: &mut Random, favourite: Who) -> Who {
    if random.chance(65) { favourite } else { random.pick(&Who::ISSUED) }
}

fn who(random: &mut Random, favourite: Who) -> Who {
    if random.chance(95) { issued(random, favourite) } else { random.pick(&Who::ALL) }
}

fn change(random: &mut Random, favourite: Who) -> Change {
    let who = who(random, favourite);
    match random.below(100) {
        0..12 => Change::Disable(who),
        12..34 => Change::Enable(who),
        34..46 => Change::Remove(issued(random, favourite)),
        46..66 => Change::Register(who, random.below(1 << 32)),
        66..72 => Change::Break(who),
        72..82 => {
            Change::Anchors { corp: random.chance(50), mask: u8::try_from(1 + random.below(3)).unwrap() }
        }
        82..85 => Change::BreakAnchors { corp: random.chance(50) },
        85..96 => Change::List {
            revoked: u8::try_from(random.below(16) & random.below(16)).unwrap(),
            short: random.chance(25),
        },
        96..98 => Change::BreakList,
        _ => Change::RemoveList,
    }
}
