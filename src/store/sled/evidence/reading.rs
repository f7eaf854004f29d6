//! Reads the evidence. An entry that nobody can read is left out; only a database that fails is an error.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use ::sled::{Db, Tree};

use super::format::{
    CHAIN, Moments, NAME, REFUSAL, SIGHTING, TREE, chain_key, name_key, parse_chain, parse_name,
    parse_refusal, parse_refusal_key, parse_sighting_key, refusal_key, sighting_key,
};
use crate::clock::Timestamp;
use crate::oauth::ClientId;
use crate::pki::Thumbprint;
use crate::store::StoreError;
use crate::store::evidence::{
    REFUSALS_OF_A_CLIENT, REFUSALS_OF_CLIENTS, REFUSALS_OF_STRANGERS, RefusalRecord, SIGHTING_LIFE,
    SIGHTING_NEEDED, SIGHTINGS_KEPT, Sighting,
};
use crate::store::sled::failed;

/// How many entries are read before others have their turn.
pub(super) const SLICE: usize = 256;

/// What `store check` counts of the evidence.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::store::sled) struct Counts {
    pub sightings: u64,
    pub refusals: u64,
    pub unreadable: u64,
}

/// A part of many, and where the next part begins.
pub(in crate::store::sled) struct Part<T> {
    pub items: Vec<T>,
    pub next: Option<Vec<u8>>,
}

/// The evidence, if there ever was any. Not kept: who holds a tree holds the lock of its database.
pub(in crate::store::sled) fn tree(db: &Db) -> Result<Option<Tree>, StoreError> {
    let is_there = db.tree_names().iter().any(|name| *name == TREE);
    is_there.then(|| db.open_tree(TREE).map_err(failed)).transpose()
}

pub(super) fn sighting(
    tree: &Tree,
    client: &ClientId,
    thumbprint: Thumbprint,
) -> Result<Option<Sighting>, StoreError> {
    let value = tree.get(sighting_key(client, thumbprint)).map_err(failed)?;
    let Some(moments) = value.and_then(|value| Moments::parse(&value)) else { return Ok(None) };
    with_chain(tree, client.clone(), thumbprint, moments)
}

/// The sightings whose keys begin with `start`, from `from` on.
pub(in crate::store::sled) fn sightings(
    tree: &Tree,
    start: &[u8],
    from: &[u8],
) -> Result<Part<Sighting>, StoreError> {
    let mut part = Part { items: Vec::new(), next: None };
    for found in tree.range(from.to_vec()..).take(SLICE) {
        let (key, value) = found.map_err(failed)?;
        if !key.starts_with(start) {
            return Ok(Part { next: None, ..part });
        }
        if let (Some((client, thumbprint)), Some(moments)) =
            (parse_sighting_key(&key), Moments::parse(&value))
        {
            part.items.extend(with_chain(tree, client, thumbprint, moments)?);
        }
        part.next = Some(after(&key));
    }
    Ok(part)
}

pub(super) fn refusal(tree: &Tree, reference: &str) -> Result<Option<RefusalRecord>, StoreError> {
    let at = tree.get(name_key(reference)).map_err(failed)?.and_then(|value| parse_name(&value));
    at.map_or(Ok(None), |(at, _)| refusal_at(tree, &refusal_key(at, reference), reference))
}

/// The latest refusals whose keys come before `before`, `limit` at most; `next` is what to give as `before` then.
pub(in crate::store::sled) fn refusals(
    tree: &Tree,
    before: &[u8],
    limit: usize,
) -> Result<Part<RefusalRecord>, StoreError> {
    let mut part = Part { items: Vec::new(), next: None };
    for found in tree.range(vec![REFUSAL]..before.to_vec()).keys().rev() {
        let key = found.map_err(failed)?;
        let Some((_, reference, start)) = parse_refusal_key(&key) else { continue };
        if part.next.as_deref() == Some(start) {
            continue; // another piece of it
        }
        if part.items.len() == limit {
            return Ok(part);
        }
        part.items.extend(refusal_at(tree, start, reference)?);
        part.next = Some(start.to_vec());
    }
    Ok(Part { next: None, ..part })
}

/// What follows the last refusal.
pub(in crate::store::sled) const AFTER_REFUSALS: &[u8] = &[REFUSAL + 1];

/// The sightings that need not be kept, with when they were seen last. `next` begins with a client of its own.
pub(super) fn spare_sightings(
    tree: &Tree,
    from: &[u8],
    now: Timestamp,
) -> Result<Part<(ClientId, Thumbprint, Timestamp)>, StoreError> {
    let mut part = Part { items: Vec::new(), next: None };
    let mut same: Vec<(ClientId, Thumbprint, Moments)> = Vec::new();
    for (number, found) in tree.range(from.to_vec()..vec![SIGHTING + 1]).enumerate() {
        let (key, value) = found.map_err(failed)?;
        let (Some((client, thumbprint)), Some(moments)) = (parse_sighting_key(&key), Moments::parse(&value))
        else {
            continue;
        };
        if same.first().is_some_and(|(of, ..)| *of != client) {
            part.items.extend(spare_of_one(std::mem::take(&mut same), now));
            if number >= SLICE {
                part.next = Some(key.to_vec());
                return Ok(part);
            }
        }
        same.push((client, thumbprint, moments));
    }
    part.items.extend(spare_of_one(same, now));
    Ok(part)
}

fn spare_of_one(
    mut sightings: Vec<(ClientId, Thumbprint, Moments)>,
    now: Timestamp,
) -> impl Iterator<Item = (ClientId, Thumbprint, Timestamp)> {
    sightings.sort_by_key(|(_, _, moments)| Reverse((moments.last, moments.first)));
    let (needed, old) = (now.minus(SIGHTING_NEEDED), now.minus(SIGHTING_LIFE));
    let spare = sightings.into_iter().enumerate();
    let spare = spare.filter(move |(place, (.., moments))| {
        moments.last < if *place < SIGHTINGS_KEPT { old } else { needed }
    });
    spare.map(|(_, (client, thumbprint, moments))| (client, thumbprint, moments.last))
}

/// When a refusal was, and its plain reference.
pub(super) type Refused = (Timestamp, String);

/// The refusals that are too many, however young.
pub(super) fn spare_refusals(tree: &Tree) -> Result<Vec<Refused>, StoreError> {
    let (mut of_strangers, mut of_each) = (Vec::new(), HashMap::<ClientId, Vec<Refused>>::new());
    for found in tree.scan_prefix([NAME]) {
        let (key, value) = found.map_err(failed)?;
        let reference = key.get(1..).and_then(|name| std::str::from_utf8(name).ok());
        let Some((reference, (at, client))) = reference.zip(parse_name(&value)) else { continue };
        let all = match client {
            Some(client) => of_each.entry(client).or_default(),
            None => &mut of_strangers,
        };
        all.push((at, reference.to_owned()));
    }
    let mut spare = all_but_newest(&mut of_strangers, REFUSALS_OF_STRANGERS);
    let mut of_clients = Vec::new();
    for mut of_one in of_each.into_values() {
        spare.extend(all_but_newest(&mut of_one, REFUSALS_OF_A_CLIENT));
        of_clients.append(&mut of_one);
    }
    spare.extend(all_but_newest(&mut of_clients, REFUSALS_OF_CLIENTS));
    Ok(spare)
}

fn all_but_newest(refusals: &mut Vec<Refused>, newest: usize) -> Vec<Refused> {
    refusals.sort_unstable_by(|one, other| other.cmp(one));
    refusals.split_off(newest.min(refusals.len()))
}

/// The oldest refusals, `limit` at most.
pub(super) fn oldest_refusals(tree: &Tree, limit: usize) -> Result<Vec<Refused>, StoreError> {
    let mut oldest: Vec<Refused> = Vec::new();
    for found in tree.scan_prefix([REFUSAL]).keys() {
        let key = found.map_err(failed)?;
        let Some((at, reference, _)) = parse_refusal_key(&key) else { continue };
        if oldest.last().is_some_and(|last| last.0 == at && last.1 == reference) {
            continue;
        }
        if oldest.len() == limit {
            break;
        }
        oldest.push((at, reference.to_owned()));
    }
    Ok(oldest)
}

/// Looks at every entry. What belongs together may be in two places, and each without the other is unreadable.
pub(in crate::store::sled) fn count(db: &Db) -> Result<Counts, StoreError> {
    let Some(tree) = tree(db)? else { return Ok(Counts::default()) };
    let mut counts = Counts::default();
    // In the order of the keys `c` and `n` come before `s` and `r`, which they belong to.
    let (mut chains, mut names, mut before) = (HashSet::new(), HashSet::new(), Vec::new());
    for found in &tree {
        let (key, value) = found.map_err(failed)?;
        let is_right = match (key.first().copied(), parse_refusal_key(&key)) {
            (Some(CHAIN), _) => {
                let of = key.split_last_chunk::<2>().and_then(|(start, _)| start.get(1..));
                of.map(|of| chains.insert(of.to_vec())).is_some()
            }
            (Some(NAME), _) => {
                let reference = key.get(1..).and_then(|name| std::str::from_utf8(name).ok());
                let start =
                    reference.zip(parse_name(&value)).map(|(reference, (at, _))| refusal_key(at, reference));
                start.map(|start| names.insert(start)).is_some()
            }
            (Some(SIGHTING), _) => {
                chains.remove(key.get(1..).unwrap_or_default());
                let of = parse_sighting_key(&key);
                let whole =
                    of.map(|(client, thumbprint)| sighting(&tree, &client, thumbprint)).transpose()?;
                let is_whole = whole.flatten().is_some();
                counts.sightings += u64::from(is_whole);
                is_whole
            }
            (Some(REFUSAL), Some((_, _, start))) if start == before => true, // another piece of it
            (Some(REFUSAL), Some((_, reference, start))) => {
                before = start.to_vec();
                let is_whole = refusal_at(&tree, start, reference)?.is_some();
                counts.refusals += u64::from(is_whole);
                names.remove(start) && is_whole
            }
            _ => false,
        };
        counts.unreadable += u64::from(!is_right);
    }
    counts.unreadable += u64::try_from(chains.len() + names.len()).unwrap_or(u64::MAX);
    Ok(counts)
}

fn with_chain(
    tree: &Tree,
    client: ClientId,
    thumbprint: Thumbprint,
    Moments { first, last }: Moments,
) -> Result<Option<Sighting>, StoreError> {
    let bytes = joined(tree, &chain_key(&client, thumbprint))?;
    let sighting = |chain| Sighting { client, thumbprint, chain, first_seen: first, last_seen: last };
    Ok(bytes.and_then(|bytes| parse_chain(&bytes)).map(sighting))
}

fn refusal_at(tree: &Tree, start: &[u8], reference: &str) -> Result<Option<RefusalRecord>, StoreError> {
    Ok(joined(tree, start)?.and_then(|bytes| parse_refusal(&bytes, reference)))
}

/// The pieces of a value, if none is missing.
fn joined(tree: &Tree, start: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    let mut value = Vec::new();
    for (number, found) in (0..=u16::MAX).zip(tree.scan_prefix(start)) {
        let (key, piece) = found.map_err(failed)?;
        if key.strip_prefix(start) != Some(number.to_be_bytes().as_slice()) {
            return Ok(None);
        }
        value.extend_from_slice(&piece);
    }
    Ok(Some(value))
}

/// The smallest key that is greater.
fn after(key: &[u8]) -> Vec<u8> {
    let mut next = key.to_vec();
    next.push(0);
    next
}
