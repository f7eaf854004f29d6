//! Who takes part: the CAs, the certificates and the clients that may show them. Made once, for all schedules.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use certbound::authn::{Presented, PresentedCertificate, Via};
use certbound::clock::Timestamp;
use certbound::pki::workshop::{Authority, CrlTemplate, Identity, KeyKind, RevokedCertificate, Template};
use certbound::pki::{Certificate, Chain};
use openssl::pkey::PKey;

/// When every schedule begins.
pub(super) const BEGIN: Timestamp = Timestamp::from_unix(1_790_000_000);

pub(super) const MINUTE: i64 = 60;
pub(super) const HOUR: i64 = 3600;
pub(super) const DAY: i64 = 24 * HOUR;

/// `BEGIN` and so many seconds.
pub(super) const fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(BEGIN.as_unix() + seconds)
}

/// Before and after everything that a schedule reaches.
const EARLY: Timestamp = at(-60 * DAY);
const LATE: Timestamp = at(3000 * DAY);

/// A client.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Who {
    /// By DNS name, below the set `corp`, whose certificates must be known not to be revoked.
    Billing,
    /// By DNS name, below the set `partner`, where nobody asks for revocation.
    Edge,
    /// By registered certificates.
    Meter,
    /// A resource server, by a registered certificate.
    Gateway,
    /// A resource server of another audience.
    Auditor,
}

impl Who {
    pub(super) const ALL: [Self; 5] = [Self::Billing, Self::Edge, Self::Meter, Self::Gateway, Self::Auditor];

    /// Those that get tokens.
    pub(super) const ISSUED: [Self; 3] = [Self::Billing, Self::Edge, Self::Meter];

    pub(super) fn id(self) -> &'static str {
        match self {
            Self::Billing => "billing",
            Self::Edge => "edge",
            Self::Meter => "meter",
            Self::Gateway => "gateway",
            Self::Auditor => "auditor",
        }
    }

    /// The cards that could be its own.
    pub(super) fn cards(self) -> std::ops::Range<usize> {
        match self {
            Self::Billing => 0..4,
            Self::Edge => 4..8,
            Self::Meter => 8..12,
            Self::Gateway => 12..13,
            Self::Auditor => 13..14,
        }
    }
}

/// A certification authority.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Ca {
    Corp,
    CorpNext,
    Partner,
    /// With the name of `Partner`: a CA is its key.
    PartnerNext,
    Stranger,
}

impl Ca {
    const ALL: [Self; 5] = [Self::Corp, Self::CorpNext, Self::Partner, Self::PartnerNext, Self::Stranger];

    fn name(self) -> &'static str {
        match self {
            Self::Corp => "Corp CA",
            Self::CorpNext => "Corp CA G2",
            Self::Partner | Self::PartnerNext => "Partner CA",
            Self::Stranger => "Stranger CA",
        }
    }
}

/// A certificate that somebody holds the key of.
pub(super) struct Card {
    pub(super) name: &'static str,
    pub(super) ca: Option<Ca>,
    pub(super) dns: &'static str,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    pub(super) thumbprint: String,
    pub(super) der: Vec<u8>,
    pub(super) presented: Presented,
    serial: Vec<u8>,
}

impl Card {
    pub(super) fn is_valid(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// With a second left, without which nobody is let in.
    pub(super) fn lets_in(&self, now: Timestamp) -> bool {
        self.is_valid(now) && now < self.not_after
    }
}

/// Name, CA (none: self-signed), DNS name, validity.
const CARDS: [(&str, Option<Ca>, &str, Timestamp, Timestamp); 15] = [
    ("billing", Some(Ca::Corp), "billing.example.com", EARLY, LATE),
    ("billing, short", Some(Ca::Corp), "billing.example.com", EARLY, at(2 * HOUR)),
    ("billing of the next CA", Some(Ca::CorpNext), "billing.example.com", EARLY, LATE),
    ("billing-2", Some(Ca::Corp), "billing-2.example.com", EARLY, LATE),
    ("edge", Some(Ca::Partner), "edge.example.com", EARLY, LATE),
    ("edge, short", Some(Ca::Partner), "edge.example.com", EARLY, at(3 * HOUR)),
    ("edge of the next CA", Some(Ca::PartnerNext), "edge.example.com", EARLY, LATE),
    ("edge-2", Some(Ca::Partner), "edge-2.example.com", EARLY, LATE),
    ("meter-0", None, "", EARLY, LATE),
    ("meter-1", None, "", EARLY, LATE),
    ("meter-2, short", None, "", EARLY, at(2 * HOUR)),
    ("meter-3, not yet", None, "", at(HOUR), LATE),
    ("gateway", None, "", EARLY, LATE),
    ("auditor", None, "", EARLY, LATE),
    ("stranger", Some(Ca::Stranger), "billing.example.com", EARLY, LATE),
];

/// The certificates that the CAs of `corp` may revoke.
pub(super) const REVOCABLE: usize = 4;

/// A revocation list of both CAs of `corp`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct List {
    pub(super) number: u64,
    /// A bit for each of the first cards.
    pub(super) revoked: u8,
    pub(super) next_update: Timestamp,
}

impl List {
    /// Before the earliest moment of a schedule.
    pub(super) const THIS_UPDATE: Timestamp = at(-25 * DAY);

    pub(super) fn has(&self, card: usize) -> bool {
        card < REVOCABLE && self.revoked & (1 << card) != 0
    }

    pub(super) fn is_current(&self, now: Timestamp) -> bool {
        Self::THIS_UPDATE <= now && now <= self.next_update
    }
}

/// Everybody.
pub(super) struct Cast {
    authorities: Vec<(Ca, Authority)>,
    pub(super) cards: Vec<Card>,
    /// In PEM.
    pub(super) signing_key: Vec<u8>,
}

/// The one cast of this process.
pub(super) fn cast() -> &'static Cast {
    static CAST: OnceLock<Cast> = OnceLock::new();
    CAST.get_or_init(Cast::new)
}

pub(super) fn card(index: usize) -> &'static Card {
    &cast().cards[index]
}

impl Cast {
    fn new() -> Self {
        let template = |cn: &str, not_before, not_after| Template {
            key: KeyKind::Ed25519,
            ..Template::new(cn, not_before, not_after)
        };
        let authority = |ca: Ca| (ca, Authority::new(&template(ca.name(), EARLY, LATE)).unwrap());
        let authorities: Vec<_> = Ca::ALL.into_iter().map(authority).collect();
        let cards = CARDS.into_iter().map(|(name, ca, dns, not_before, not_after)| {
            let dns_names = if dns.is_empty() { Vec::new() } else { vec![dns.to_owned()] };
            let template = Template { dns: dns_names, ..template(name, not_before, not_after) };
            let identity = match ca {
                None => Identity::self_signed(&template),
                Some(ca) => authorities.iter().find(|(of, _)| *of == ca).unwrap().1.issue(&template),
            };
            let der = identity.unwrap().certificate_der().to_vec();
            let certificate = Certificate::parse(&der).unwrap();
            let chain = Chain::parse(std::slice::from_ref(&der), 1).unwrap();
            let presented =
                Presented::Certificate(Arc::new(PresentedCertificate { chain, via: Via::Handshake }));
            let (thumbprint, serial) = (certificate.thumbprint().to_string(), certificate.serial().to_vec());
            Card { name, ca, dns, not_before, not_after, thumbprint, der, presented, serial }
        });
        let cards = cards.collect();
        let signing_key = PKey::generate_ed25519().unwrap().private_key_to_pem_pkcs8().unwrap();
        Self { authorities, cards, signing_key }
    }

    fn authority(&self, ca: Ca) -> &Authority {
        &self.authorities.iter().find(|(of, _)| *of == ca).unwrap().1
    }

    /// The file of an anchor set with these CAs.
    pub(super) fn anchors(&self, cas: &[Ca]) -> String {
        cas.iter().map(|ca| self.authority(*ca).identity().certificate_pem()).collect()
    }

    /// The file with the lists of both CAs of `corp`.
    pub(super) fn lists(&self, list: List) -> String {
        let of = |ca: Ca| {
            let revoked =
                self.cards.iter().enumerate().filter(|(index, one)| one.ca == Some(ca) && list.has(*index));
            let template = CrlTemplate {
                number: list.number,
                this_update: List::THIS_UPDATE,
                next_update: list.next_update,
                revoked: revoked
                    .map(|(_, one)| RevokedCertificate {
                        serial: one.serial.clone(),
                        at: List::THIS_UPDATE,
                        reason: None,
                    })
                    .collect(),
            };
            let der = self.authority(ca).crl(&template).unwrap();
            let crl = openssl::x509::X509Crl::from_der(&der).unwrap();
            String::from_utf8(crl.to_pem().unwrap()).unwrap()
        };
        [of(Ca::Corp), of(Ca::CorpNext)].concat()
    }
}

/// So many seconds.
pub(super) fn seconds(number: i64) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or_default())
}
