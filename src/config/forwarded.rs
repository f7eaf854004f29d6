//! A listener of `kind: forwarded`: where it may listen, which header it reads, and how the proxy proves itself.
//!
//! Whoever may speak there may be any client, because certificates are no secret (RFC 9440 §4). So there is at least one
//! proof that can hold, nothing crosses a network without TLS, and a proof that holds for everybody is an error.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use secrecy::ExposeSecret as _;

use super::listeners::{address, refuse_foreign, tls_at, unix};
use super::secret::SecretRef;
use super::section::{self, Map, shown};
use super::{Config, Listener, ServerTls};
use crate::document::{At, Node, Problems, Value};
use crate::http::forwarded::{Dialect, HeaderReader};
use crate::http::proxy::{Proxy, ProxyPassword, ProxyProof};
use crate::pki::fetch::AddressBlock;
use crate::pki::{AnchorSetName, SubjectMatcher};
use crate::registry::Credential;

/// A listener of `kind: forwarded`.
#[derive(Clone, Debug)]
pub struct Forwarded {
    /// Where it listens: with `tls` anywhere, without on loopback or on a unix socket.
    pub bind: ForwardedBind,
    /// What it shows to the proxy.
    pub tls: Option<ServerTls>,
    /// `dialect` and `header`.
    pub reader: HeaderReader,
    /// Who may speak there; of a unix socket its mode says so too.
    pub proxy: ProxySource,
}

/// Where a forwarded listener may listen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ForwardedBind {
    /// An address.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix {
        /// At most [`super::SOCKET_PATH_MAX`] bytes.
        path: PathBuf,
        /// The mode of its file: nothing for the world.
        mode: u32,
    },
}

/// `proxy` of a forwarded listener: all of it must hold.
#[derive(Clone, Debug, Default)]
pub struct ProxySource {
    /// The addresses that it may come from; none where nothing is said of them.
    pub address: Vec<AddressBlock>,
    /// Its own certificate.
    pub mtls: Option<ProxyCertificate>,
    /// Its credentials in `Proxy-Authorization`.
    pub basic: Option<ProxyBasic>,
}

/// `proxy.mtls`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProxyCertificate {
    /// The set that may vouch for it; there is one of this name.
    pub anchors: AnchorSetName,
    /// Its name.
    pub subject: SubjectMatcher,
}

/// `proxy.basic`.
#[derive(Clone, Debug)]
pub struct ProxyBasic {
    /// Without colon and control characters (RFC 7617 §2).
    pub username: String,
    /// Where the password is.
    pub password: SecretRef,
    /// Where the map stands.
    pub at: At,
}

const ADDRESS: &str = "address: [10.0.0.7/32]";
const MTLS: &str = "mtls: {trust_anchors: internal, tls_client_auth_san_dns: proxy.internal}";
const BASIC: &str = "basic: {username: proxy, password: {file: secrets/proxy}}";
const TLS: &str = "tls: {certificate: tls/server.pem, key: tls/server.key}";

/// The mode of a socket where nothing is said of it.
const OWNER_ONLY: u32 = 0o600;

/// The road by which requests come; None where `bind` is wrong, and nothing more is said of what depends on it.
#[derive(Clone, Copy)]
enum Road {
    /// Over a network.
    Tls,
    /// On loopback.
    Loopback,
    /// By a unix socket.
    Unix,
}

/// Reads the listener, with the place of its address; `sets` are the names of the anchor sets.
pub(super) fn read(map: &mut Map<'_>, sets: &[String]) -> Option<(Listener, At)> {
    let bind = bind(map);
    let tls = map.take("tls");
    let road = bind.as_ref().and_then(|(bind, at)| road(map, bind, at, tls.as_ref()));
    let tls = tls.map(|node| tls_at(map, &node));
    let reader = reader(map);
    let proxy = map.section("proxy", &section::PROXY, |proxy| source(proxy, sets, road));
    refuse_foreign(map, "forwarded", &["client_certificate", "admins"]);
    let (bind, at) = bind?;
    // A `tls` that is there and cannot be read is none that may be left out.
    let tls = tls.map_or(Some(None), |tls| tls.map(Some))?;
    Some((Listener::Forwarded(Box::new(Forwarded { bind, tls, reader: reader?, proxy: proxy? })), at))
}

fn bind(map: &mut Map<'_>) -> Option<(ForwardedBind, At)> {
    let node = map.require("bind", "unix:/run/certbound/forwarded.sock");
    let mode = map.take("mode");
    let node = node?;
    if let Some(path) = node.text(map.problems)?.strip_prefix("unix:") {
        let path = unix(map, path, &node.at, "bind: unix:/run/certbound/forwarded.sock");
        let mode = mode.map_or(Some(OWNER_ONLY), |node| octal(map, &node));
        return Some((ForwardedBind::Unix { path: path?, mode: mode? }, node.at));
    }
    if let Some(mode) = mode {
        let what = "`mode` is that of a unix socket, and this listener has none";
        map.problems.error(&mode.at, what, "remove it, or write `bind: unix:PATH`");
    }
    let (address, at) = address(map, &node, "bind: 127.0.0.1:8081")?;
    Some((ForwardedBind::Tcp(address), at))
}

/// The mode of a socket: whoever may write to it may speak there.
fn octal(map: &mut Map<'_>, node: &Node) -> Option<u32> {
    const INSTEAD: &str =
        "write `mode: \"0660\"` for the owner and the group, `mode: \"0600\"` for the owner alone";
    let text = node.text(map.problems)?;
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| text.len() == 4 && text.starts_with('0'));
    // Without quotes some readers of YAML take the text for a number, and not all of them for the same.
    let is_quoted = matches!(node.value, Value::Scalar { quoted: true, .. });
    let Some(mode) = mode.filter(|_| is_quoted) else {
        map.problems.error(&node.at, "a mode is four octal digits in quotes", INSTEAD);
        return None;
    };
    let wrong = if mode & 0o007 != 0 {
        "with this mode every user of the host could be any client"
    } else if mode & 0o600 != 0o600 {
        "with this mode the owner of the socket cannot speak to it"
    } else {
        return Some(mode);
    };
    map.problems.error(&node.at, wrong, INSTEAD);
    None
}

/// Without TLS only what nobody on a network can reach or read.
fn road(map: &mut Map<'_>, bind: &ForwardedBind, at: &At, tls: Option<&Node>) -> Option<Road> {
    match (bind, tls) {
        (ForwardedBind::Unix { .. }, Some(tls)) => {
            let instead = "remove `tls`: the mode of the socket says who may speak there";
            map.problems.error(&tls.at, "a unix socket is spoken to without TLS", instead);
            None
        }
        (ForwardedBind::Unix { .. }, None) => Some(Road::Unix),
        (ForwardedBind::Tcp(_), Some(_)) => Some(Road::Tls),
        (ForwardedBind::Tcp(address), None) if address.ip().to_canonical().is_loopback() => {
            Some(Road::Loopback)
        }
        (ForwardedBind::Tcp(address), None) => {
            map.problems.error(
                at,
                format!("{address} can be reached from elsewhere, and this listener has no `tls`"),
                format!("add `{TLS}`, or write `bind: 127.0.0.1:8081` or `bind: unix:PATH`"),
            );
            None
        }
    }
}

fn reader(map: &mut Map<'_>) -> Option<HeaderReader> {
    let dialects = Dialect::ALL.map(|dialect| (dialect.as_str(), dialect));
    let dialect = map.require("dialect", "rfc9440").and_then(|node| map.word("dialect", &node, &dialects));
    let header = map.take("header");
    let dialect = dialect?;
    let Some(node) = header else { return HeaderReader::new(dialect, None).ok() };
    map.parsed("header", &node, dialect.header(), |text| HeaderReader::new(dialect, Some(text)))
}

/// `proxy`, which may be left out where the socket's mode is the proof.
fn source(proxy: &mut Map<'_>, sets: &[String], road: Option<Road>) -> Option<ProxySource> {
    let (address, mtls, basic) = (proxy.take("address"), proxy.take("mtls"), proxy.take("basic"));
    let address_alone = mtls.is_none() && basic.is_none();
    if let (Some(Road::Tls | Road::Loopback), None, true) = (road, &address, address_alone) {
        let at = proxy.at.clone();
        let what = "nothing says which proxy may speak here, so anybody could be any client";
        let instead = format!("write `proxy: {{{ADDRESS}}}`, `proxy: {{{MTLS}}}` or `proxy: {{{BASIC}}}`");
        proxy.problems.error(&at, what, instead);
        return None;
    }
    if let (Some(Road::Unix), Some(address)) = (road, &address) {
        let what = "who comes by a unix socket has no address, so this proof never holds";
        let instead = "remove it: the mode of the socket says who may speak there";
        proxy.problems.error(&address.at, what, instead);
    }
    if let (Some(Road::Unix | Road::Loopback), Some(mtls)) = (road, &mtls) {
        let what = "without TLS the proxy shows no certificate, so this proof never holds";
        proxy.problems.error(&mtls.at, what, format!("remove it, or add `{TLS}` to a listener with a port"));
    }
    let address = address.map(|node| {
        let blocks = blocks(proxy, &node)?;
        if address_alone && blocks.iter().any(has_loopback) {
            let what = "every process of this host has such an address, so each of them could be any client";
            let instead = format!("listen on `bind: unix:PATH`, or add `{BASIC}`");
            proxy.problems.warning(&node.at, what, instead);
        }
        Some(blocks)
    });
    let mtls = mtls.map(|node| proxy.inner(&node, &section::PROXY_MTLS, |mtls| certificate(mtls, sets)));
    let basic = basic.map(|node| proxy.inner(&node, &section::PROXY_BASIC, credentials));
    // A proof that is there and cannot be read is none that may be left out.
    Some(ProxySource {
        address: address.map_or(Some(Vec::new()), |read| read)?,
        mtls: mtls.map_or(Some(None), |read| read.map(Some))?,
        basic: basic.map_or(Some(None), |read| read.map(Some))?,
    })
}

fn blocks(proxy: &mut Map<'_>, node: &Node) -> Option<Vec<AddressBlock>> {
    let items = node.list(proxy.problems)?;
    if items.is_empty() {
        proxy.problems.error(&node.at, "the list of addresses is empty", format!("write `{ADDRESS}`"));
    }
    let blocks = items.iter().map(|item| {
        let text = item.text(proxy.problems)?;
        let what = match text.parse::<AddressBlock>() {
            Ok(block) if is_everybody(&block) => "with this block anybody could be any client".to_owned(),
            Ok(block) => return Some(block),
            Err(error) => error.to_string(),
        };
        let what = format!("{}: `{}`: {what}", proxy.name("address"), shown(text));
        proxy.problems.error(&item.at, what, format!("name the addresses of the proxy, such as `{ADDRESS}`"));
        None
    });
    // Every one of them is looked at before the first that is wrong ends it.
    let blocks: Vec<_> = blocks.collect();
    blocks.into_iter().collect::<Option<Vec<_>>>().filter(|blocks| !blocks.is_empty())
}

/// Whether a block has both ends of its family in it.
fn is_everybody(block: &AddressBlock) -> bool {
    let both = |first: IpAddr, last: IpAddr| block.contains(first) && block.contains(last);
    both(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::BROADCAST.into())
        || both(Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::from_bits(u128::MAX).into())
}

/// Whether a block is of this host, or has this host in it.
fn has_loopback(block: &AddressBlock) -> bool {
    block.base.to_canonical().is_loopback()
        || block.contains(Ipv4Addr::LOCALHOST.into())
        || block.contains(Ipv6Addr::LOCALHOST.into())
}

fn certificate(mtls: &mut Map<'_>, sets: &[String]) -> Option<ProxyCertificate> {
    let anchors = mtls.require("trust_anchors", "internal").and_then(|node| {
        let name = node.text(mtls.problems)?.to_owned();
        if sets.contains(&name) {
            return Some(AnchorSetName::new(&name));
        }
        let what = format!("there is no set of trust anchors named `{}`", shown(&name));
        let instead = if sets.is_empty() {
            "add one: `trust_anchors: {internal: {file: trust/internal.pem}}`".to_owned()
        } else {
            format!("write one of {}, or add it to `trust_anchors`", sets.join(", "))
        };
        mtls.problems.error(&node.at, what, instead);
        None
    });
    let rules = SubjectMatcher::PARAMETERS.into_iter().filter_map(|name| Some((name, mtls.take(name)?)));
    let rules: Vec<_> = rules.collect();
    let at = mtls.at.clone();
    let [(name, node)] = &rules[..] else {
        let (what, at) = match rules.get(1) {
            Some((name, node)) => (format!("`{name}` is one rule too many"), &node.at),
            None => ("nothing says which certificate is the proxy's".to_owned(), &at),
        };
        let all = SubjectMatcher::PARAMETERS.join(", ");
        mtls.problems.error(at, what, format!("write exactly one of {all}"));
        return None;
    };
    let example = match *name {
        "tls_client_auth_subject_dn" => "CN=proxy,O=Example,C=RO",
        "tls_client_auth_san_dns" => "proxy.internal",
        "tls_client_auth_san_uri" => "spiffe://example.com/proxy",
        "tls_client_auth_san_ip" => "10.0.0.7",
        _ => "proxy@example.com",
    };
    let subject = mtls.parsed(name, node, example, |text| SubjectMatcher::parse(name, text));
    Some(ProxyCertificate { anchors: anchors?, subject: subject? })
}

fn credentials(basic: &mut Map<'_>) -> Option<ProxyBasic> {
    let username = basic.require("username", "proxy").and_then(|node| {
        basic.parsed("username", &node, "proxy", |text| {
            let is_one = !text.is_empty() && !text.contains(':') && !text.chars().any(char::is_control);
            is_one
                .then(|| text.to_owned())
                .ok_or("a user name has no colon and no control character (RFC 7617 §2)")
        })
    });
    let password = basic
        .require("password", "{file: secrets/proxy}")
        .and_then(|node| SecretRef::from_node(basic, "password", &node));
    Some(ProxyBasic { username: username?, password: password?, at: basic.at.clone() })
}

impl Forwarded {
    /// What the listener asks of its proxy, with the password read.
    pub fn proxy(&self) -> Result<Proxy, Problems> {
        let ProxySource { address, mtls, basic } = &self.proxy;
        let certificate = mtls.as_ref().map(|ProxyCertificate { anchors, subject }| {
            Credential::TlsClientAuth { subject: subject.clone(), anchors: anchors.clone() }
        });
        let proof = ProxyProof {
            unix_socket: matches!(self.bind, ForwardedBind::Unix { .. }),
            addresses: address.clone(),
            certificate,
            password: basic.as_ref().map(ProxyBasic::read).transpose()?,
        };
        Ok(Proxy { proof, reader: self.reader.clone() })
    }

    /// Everything but the files of the identity, which are read again, and the place of each thing.
    pub(super) fn same_door(&self, other: &Self) -> bool {
        let of = |one: &Self| {
            let basic =
                one.proxy.basic.as_ref().map(|basic| (basic.username.clone(), basic.password.clone()));
            (
                one.tls.as_ref().map(|tls| tls.resumption),
                one.proxy.address.clone(),
                one.proxy.mtls.clone(),
                basic,
            )
        };
        self.bind == other.bind && self.reader == other.reader && of(self) == of(other)
    }
}

impl ProxyBasic {
    fn read(&self) -> Result<ProxyPassword, Problems> {
        let wrong = match self.password.read() {
            Err(error) => error,
            Ok(password) if password.expose_secret().is_empty() => {
                format!("{} holds no password", self.password)
            }
            Ok(password) if password.expose_secret().chars().any(char::is_control) => {
                format!("{} holds control characters, which no password has (RFC 7617 §2)", self.password)
            }
            Ok(password) => return Ok(ProxyPassword::new(&self.username, &password)),
        };
        let mut problems = Problems::default();
        problems.error(
            &self.at,
            wrong,
            "put the password that the proxy sends where this names it, in one line",
        );
        Err(problems)
    }
}

impl Config {
    /// The listeners behind proxies.
    pub fn forwarded(&self) -> impl Iterator<Item = &Forwarded> {
        self.listeners.iter().filter_map(|listener| match listener {
            Listener::Forwarded(forwarded) => Some(&**forwarded),
            _ => None,
        })
    }

    /// The anchor sets that vouch for proxies.
    pub fn proxy_sets(&self) -> impl Iterator<Item = &AnchorSetName> {
        self.forwarded().filter_map(|one| Some(&one.proxy.mtls.as_ref()?.anchors))
    }
}

#[cfg(test)]
mod tests;
