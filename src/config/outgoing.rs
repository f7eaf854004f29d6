//! Everything in the configuration that makes the server speak to others: CRLs and OCSP responders of an anchor set,
//! the webhook, and `outgoing`, which says how servers are reached (decisions L and U: only what an operator or a
//! registered client names is ever asked).

use std::io::Read as _;

use url::Url;

use super::file::open;
use super::section::{self, Map, is_map, shown};
use super::{Config, CrlSource, FileRef, OutgoingSource, SecretRef, UrlRef, Webhook};
use crate::document::{Node, Problems};
use crate::pki::fetch::{AddressBlock, Outgoing, OutgoingSettings};
use crate::pki::files::{self, FileError};
use crate::pki::revocation::RevocationMode;

/// The most bytes of `outgoing.ca`: all the roots of the web take a quarter of it.
const MAX_BYTES: u64 = 1 << 20;

/// The longest URL.
const MAX_URL: usize = 2048;

/// `revocation`, `crl` and `ocsp` of an anchor set.
pub(super) fn revocation(set: &mut Map<'_>) -> (RevocationMode, Vec<CrlSource>, Option<UrlRef>) {
    let crl = set.take("crl").map(|node| crl(set, &node)).unwrap_or_default();
    let ocsp = set.take("ocsp").and_then(|node| {
        set.inner(&node, &section::OCSP, |ocsp| {
            let node = ocsp.require("url", "http://ocsp.example.com")?;
            url(ocsp, "url", &node, "http://ocsp.example.com")
        })
    });
    let sourced = !crl.is_empty() || ocsp.is_some();
    let default = if sourced { RevocationMode::Require } else { RevocationMode::Off };
    let Some(node) = set.take("revocation") else { return (default, crl, ocsp) };
    let modes = [RevocationMode::Off, RevocationMode::Prefer, RevocationMode::Require];
    let mode = set.word("revocation", &node, &modes.map(|mode| (mode.as_str(), mode))).unwrap_or(default);
    match (mode, sourced) {
        (RevocationMode::Prefer | RevocationMode::Require, false) => set.problems.error(
            &node.at,
            format!("`revocation: {mode}` has nobody to ask"),
            "add `crl: [{file: trust/corp.crl}]` or `ocsp: {url: http://ocsp.example.com}`, or write \
             `revocation: off`",
        ),
        (RevocationMode::Off, true) => set.problems.warning(
            &node.at,
            "revocation is off, so the `crl` and `ocsp` of this set are not asked",
            "write `revocation: require`, or remove them",
        ),
        _ => {}
    }
    (mode, crl, ocsp)
}

fn crl(set: &mut Map<'_>, node: &Node) -> Vec<CrlSource> {
    const EXAMPLE: &str = "write `crl: [{file: trust/corp.crl}, {url: http://crl.example.com/corp.crl}]`";
    let Some(items) = node.list(set.problems) else { return Vec::new() };
    if items.is_empty() {
        set.problems.error(&node.at, "the list of CRLs is empty", EXAMPLE);
    }
    let sources = items.iter().map(|item| {
        if !is_map(item) {
            set.problems.error(&item.at, "this does not say whether it is a file or a URL", EXAMPLE);
            return None;
        }
        set.inner(item, &section::CRL, |one| {
            let file = one.optional_file("file");
            let url_node = one.take("url");
            let at = one.at.clone();
            match (file, url_node) {
                (Some(file), None) => Some(CrlSource::File(file)),
                (None, Some(node)) => {
                    url(one, "url", &node, "http://crl.example.com/corp.crl").map(CrlSource::Url)
                }
                (Some(_), Some(_)) => {
                    one.problems.error(&at, "a CRL is in one place: a file or a URL", EXAMPLE);
                    None
                }
                (None, None) => {
                    one.problems.error(&at, "neither `file` nor `url` says where the CRL is", EXAMPLE);
                    None
                }
            }
        })
    });
    sources.flatten().collect()
}

/// `expiry.webhook`.
pub(super) fn webhook(expiry: &mut Map<'_>) -> Option<Webhook> {
    let node = expiry.take("webhook")?;
    expiry.inner(&node, &section::WEBHOOK, |webhook| {
        const EXAMPLE: &str = "https://ops.example.com/hook";
        let url = webhook.require("url", EXAMPLE).and_then(|node| url(webhook, "url", &node, EXAMPLE));
        let secret = webhook.take("secret").and_then(|node| SecretRef::from_node(webhook, "secret", &node));
        Some(Webhook { url: url?, secret })
    })
}

/// `outgoing`.
pub(super) fn outgoing(outgoing: &mut Map<'_>) -> OutgoingSource {
    let ca = outgoing.optional_file("ca");
    let Some(node) = outgoing.take("allow") else { return OutgoingSource { ca, allow: Vec::new() } };
    let items = node.list(outgoing.problems).unwrap_or_default();
    let allow = items.iter().filter_map(|item| {
        let text = item.text(outgoing.problems)?;
        let block: Result<AddressBlock, _> = text.parse();
        if let Err(error) = &block {
            let what = format!("outgoing.allow: `{}`: {error}", shown(text));
            outgoing.problems.error(&item.at, what, "write addresses, such as `allow: [10.1.0.0/16]`");
        }
        block.ok()
    });
    OutgoingSource { ca, allow: allow.collect() }
}

/// An http or https URL as a request can use it: nothing in it is a secret, and nothing of it is left out.
fn url(map: &mut Map<'_>, key: &str, node: &Node, example: &str) -> Option<UrlRef> {
    let parsed = map.parsed(key, node, example, |text| {
        let url = Url::parse(text).map_err(|error| format!("`{}` is not a URL: {error}", shown(text)))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err(format!("`{}` is not an http or https URL", shown(text)));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a URL here has no user name and no password".to_owned());
        }
        if url.fragment().is_some() || text.len() > MAX_URL {
            return Err(format!("`{}` has a fragment, or more than {MAX_URL} characters", shown(text)));
        }
        Ok(url)
    })?;
    Some(UrlRef { url: parsed, at: node.at.clone() })
}

impl Config {
    /// What the way out is to be like. Every problem at once: a file of CAs that cannot be used, and every configured URL
    /// whose address may not be asked.
    pub fn outgoing_settings(&self) -> Result<OutgoingSettings, Problems> {
        let mut problems = Problems::default();
        let roots = self.outgoing.ca.as_ref().map(|file| roots(file, &mut problems)).unwrap_or_default();
        let settings = OutgoingSettings { roots, allow: self.outgoing.allow.clone() };
        match Outgoing::new(&settings) {
            Ok(outgoing) => {
                for UrlRef { url, at } in self.urls() {
                    if let Err(error) = outgoing.permits(url) {
                        let instead =
                            "name the address in outgoing.allow if it is meant, or write another URL";
                        problems.error(at, error.to_string(), instead);
                    }
                }
            }
            Err(error) => {
                let at = self
                    .outgoing
                    .ca
                    .as_ref()
                    .map_or_else(|| crate::document::At::whole(self.file.as_path()), |file| file.at.clone());
                problems.error(&at, error.to_string(), "put the PEM certificates of the CAs there");
            }
        }
        if problems.has_errors() { Err(problems) } else { Ok(settings) }
    }

    /// Every URL that the configuration names for a request.
    fn urls(&self) -> impl Iterator<Item = &UrlRef> {
        let sets = self.trust_anchors.iter().flat_map(|set| {
            let lists = set.crl.iter().filter_map(|source| match source {
                CrlSource::Url(url) => Some(url),
                CrlSource::File(_) => None,
            });
            lists.chain(&set.ocsp)
        });
        sets.chain(self.webhook.iter().map(|webhook| &webhook.url))
    }
}

fn roots(file: &FileRef, problems: &mut Problems) -> Vec<Vec<u8>> {
    let path = file.path.display();
    let mut bytes = Vec::new();
    if let Err(error) = open(&file.path).and_then(|open| open.take(MAX_BYTES).read_to_end(&mut bytes)) {
        let instead = "put the certificates of the CAs there, or name the file where they are";
        problems.error(&file.at, format!("{path} cannot be read: {error}"), instead);
        return Vec::new();
    }
    let found = files::certificates(&bytes)
        .and_then(|found| if found.is_empty() { Err(FileError::Nothing) } else { Ok(found) });
    match found {
        Ok(found) => found.iter().map(|certificate| certificate.der().to_vec()).collect(),
        Err(error) => {
            let instead = "put the PEM certificates of the CAs there that vouch for the servers asked";
            problems.error(&file.at, format!("{path}: {error}"), instead);
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests;
