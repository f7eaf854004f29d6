//! `listeners`: which of them there may be, what each may have, and where each may listen.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::document::socket_fits;
use super::secret::SecretRef;
use super::section::{self, Map, shown};
use super::{AdminBind, Door, ForwardedBind, IdentitySource, Listener, ServerTls, forwarded};
use crate::document::{At, Node};

/// What stands behind `kind:`.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    Mtls,
    Public,
    Forwarded,
    Admin,
}

const KINDS: [(&str, Kind); 4] =
    [("mtls", Kind::Mtls), ("public", Kind::Public), ("forwarded", Kind::Forwarded), ("admin", Kind::Admin)];

/// Reads the list; `sets` are the names of the anchor sets. What has a problem is left out.
pub(super) fn read(top: &mut Map<'_>, sets: &[String]) -> Vec<Listener> {
    let Some(list) = top.require("listeners", "[{kind: mtls, bind: 0.0.0.0:8443, tls: …}]") else {
        return Vec::new();
    };
    let Some(nodes) = list.list(top.problems) else { return Vec::new() };
    let mut clients_can_come = false;
    let mut listeners: Vec<(Listener, At)> = Vec::new();
    for node in nodes {
        let (kind, listener) = top.inner(node, &section::LISTENER, |map| listener(map, sets));
        // One whose kind is in doubt may have been meant as the door for clients.
        clients_can_come |= kind.is_none_or(|kind| matches!(kind, Kind::Mtls | Kind::Forwarded));
        let Some((listener, at)) = listener else { continue };
        if let Some((_, other)) = listeners.iter().find(|(earlier, _)| collide(earlier, &listener)) {
            let what = format!("the listener of line {} has this address already", other.line);
            top.problems.error(&at, what, "give each listener an address and port of its own");
        }
        listeners.push((listener, at));
    }
    if !clients_can_come {
        top.problems.error(
            &list.at,
            "no listener asks for client certificates",
            "add one: `- {kind: mtls, bind: 0.0.0.0:8443, tls: {certificate: tls/server.pem, key: tls/server.key}}`",
        );
    }
    listeners.into_iter().map(|(listener, _)| listener).collect()
}

/// One listener, with the place of its address; None for either half that could not be read.
fn listener(map: &mut Map<'_>, sets: &[String]) -> (Option<Kind>, Option<(Listener, At)>) {
    let kind = map.require("kind", "mtls").and_then(|node| map.word("kind", &node, &KINDS));
    let Some(kind) = kind else {
        map.skip_known();
        return (None, None);
    };
    let listener = match kind {
        Kind::Mtls => mtls(map),
        Kind::Public => public(map),
        Kind::Admin => admin(map),
        Kind::Forwarded => forwarded::read(map, sets),
    };
    (Some(kind), listener)
}

fn mtls(map: &mut Map<'_>) -> Option<(Listener, At)> {
    let bind = tcp(map, "mtls");
    let tls = tls(map);
    let door =
        map.choice("client_certificate", &[("request", Door::Ask), ("require", Door::Require)], Door::Ask);
    refuse_foreign(map, "mtls", &["mode", "dialect", "header", "proxy", "admins"]);
    let (bind, at) = bind?;
    Some((Listener::Mtls { bind, tls: tls?, door }, at))
}

fn public(map: &mut Map<'_>) -> Option<(Listener, At)> {
    let bind = tcp(map, "public");
    let tls = tls(map);
    refuse_foreign(map, "public", &["client_certificate", "mode", "dialect", "header", "proxy", "admins"]);
    let (bind, at) = bind?;
    Some((Listener::Public { bind, tls: tls? }, at))
}

fn admin(map: &mut Map<'_>) -> Option<(Listener, At)> {
    let bind = admin_bind(map);
    map.not_built("tls");
    map.not_built("admins");
    refuse_foreign(map, "admin", &["client_certificate", "mode", "dialect", "header", "proxy"]);
    let (bind, at) = bind?;
    Some((Listener::Admin { bind }, at))
}

/// Keys that other kinds have, and this one has not.
pub(super) fn refuse_foreign(map: &mut Map<'_>, kind: &str, keys: &[&str]) {
    for key in keys {
        if let Some(node) = map.take(key) {
            let what = format!("`{key}` means nothing to a listener of `kind: {kind}`");
            map.problems.error(&node.at, what, "remove it, or write the `kind` that it belongs to");
        }
    }
}

/// `bind` of a listener that speaks TLS.
fn tcp(map: &mut Map<'_>, kind: &str) -> Option<(SocketAddr, At)> {
    let node = map.require("bind", "0.0.0.0:8443")?;
    if node.text(map.problems)?.starts_with("unix:") {
        let what = format!("a listener of `kind: {kind}` has no unix socket");
        map.problems.error(&node.at, what, "write an IP address and a port, such as `bind: 0.0.0.0:8443`");
        return None;
    }
    address(map, &node, "bind: 0.0.0.0:8443")
}

/// `bind` of an admin listener, which has no TLS: only what nobody else on the network can reach.
fn admin_bind(map: &mut Map<'_>) -> Option<(AdminBind, At)> {
    const EXAMPLE: &str = "bind: 127.0.0.1:9090";
    let node = map.require("bind", "127.0.0.1:9090")?;
    if let Some(path) = node.text(map.problems)?.strip_prefix("unix:") {
        let path = unix(map, path, &node.at, "bind: unix:/run/certbound/admin.sock")?;
        return Some((AdminBind::Unix(path), node.at));
    }
    let (address, at) = address(map, &node, EXAMPLE)?;
    if !address.ip().to_canonical().is_loopback() {
        map.problems.error(
            &at,
            format!("{address} can be reached from elsewhere, and a listener of `kind: admin` has no TLS"),
            format!("write a loopback address, `{EXAMPLE}`, or a socket, `bind: unix:PATH`"),
        );
        return None;
    }
    Some((AdminBind::Tcp(address), at))
}

pub(super) fn address(map: &mut Map<'_>, node: &Node, example: &str) -> Option<(SocketAddr, At)> {
    let text = node.text(map.problems)?;
    if let Ok(address) = text.parse() {
        return Some((address, node.at.clone()));
    }
    let what = format!("`{}` is not an IP address with a port", shown(text));
    let instead = format!(
        "write `{example}`, or for IPv6 in quotes, `bind: \"[::]:8443\"`; host names are not looked up"
    );
    map.problems.error(&node.at, what, instead);
    None
}

/// What stands behind `unix:`.
pub(super) fn unix(map: &mut Map<'_>, path: &str, at: &At, example: &str) -> Option<PathBuf> {
    let path = map.resolve("bind", path, at)?;
    socket_fits(&path, at, &format!("write a shorter one, such as `{example}`"), map);
    Some(path)
}

fn tls(map: &mut Map<'_>) -> Option<ServerTls> {
    let node = map.require("tls", "{certificate: tls/server.pem, key: tls/server.key}")?;
    tls_at(map, &node)
}

pub(super) fn tls_at(map: &mut Map<'_>, node: &Node) -> Option<ServerTls> {
    map.inner(node, &section::TLS, |tls| {
        let identity = identity(tls);
        let resumption = resumption(tls);
        Some(ServerTls { identity: identity?, resumption, at: tls.at.clone() })
    })
}

fn identity(tls: &mut Map<'_>) -> Option<IdentitySource> {
    let Some(node) = tls.take("pkcs12") else {
        let certificate = tls.file("certificate", "tls/server.pem");
        let key = tls.file("key", "tls/server.key");
        return Some(IdentitySource::Files { certificate: certificate?, key: key? });
    };
    for key in ["certificate", "key"] {
        if let Some(extra) = tls.take(key) {
            let what = format!("`{key}` and `pkcs12` both say what this listener shows");
            tls.problems.error(&extra.at, what, "keep either `pkcs12`, or `certificate` and `key`");
        }
    }
    tls.inner(&node, &section::PKCS12, |pkcs12| {
        let file = pkcs12.file("file", "tls/server.p12");
        let password = pkcs12
            .require("password", "{file: secrets/tls}")
            .and_then(|node| SecretRef::from_node(pkcs12, "password", &node));
        Some(IdentitySource::Pkcs12 { file: file?, password: password? })
    })
}

/// `off`, or how long a session may be resumed.
fn resumption(tls: &mut Map<'_>) -> Option<Duration> {
    let node = tls.take("resumption")?;
    if node.text(tls.problems)? == "off" {
        return None;
    }
    let value = node.duration(tls.problems)?;
    let bounds = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
    if bounds.contains(&value) {
        return Some(value);
    }
    let what = "tls.resumption is out of its bounds";
    tls.problems.error(&node.at, what, "write `resumption: off` (the default), or a duration from 1s to 24h");
    None
}

/// Whether two listeners want the same socket. Port 0 is a port of the system's choice.
fn collide(one: &Listener, other: &Listener) -> bool {
    match (socket(one), socket(other)) {
        (Some(one), Some(other)) => {
            one.port() != 0 && one.port() == other.port() && overlap(one.ip(), other.ip())
        }
        _ => path(one).is_some() && path(one) == path(other),
    }
}

fn socket(listener: &Listener) -> Option<SocketAddr> {
    match listener {
        Listener::Mtls { bind, .. }
        | Listener::Public { bind, .. }
        | Listener::Admin { bind: AdminBind::Tcp(bind) } => Some(*bind),
        Listener::Forwarded(forwarded) => match forwarded.bind {
            ForwardedBind::Tcp(bind) => Some(bind),
            ForwardedBind::Unix { .. } => None,
        },
        Listener::Admin { bind: AdminBind::Unix(_) } => None,
    }
}

fn path(listener: &Listener) -> Option<&Path> {
    match listener {
        Listener::Admin { bind: AdminBind::Unix(path) } => Some(path),
        Listener::Forwarded(forwarded) => match &forwarded.bind {
            ForwardedBind::Unix { path, .. } => Some(path),
            ForwardedBind::Tcp(_) => None,
        },
        _ => None,
    }
}

/// Equal, or of one family and one of them is every address of it.
fn overlap(one: IpAddr, other: IpAddr) -> bool {
    one == other || (one.is_ipv4() == other.is_ipv4() && (one.is_unspecified() || other.is_unspecified()))
}
