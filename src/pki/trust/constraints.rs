//! Name constraints (RFC 5280 §4.2.1.10) where OpenSSL is too generous: constraints that are no names, and
//! names that slip by a constraint because they are none, or because they stand for many.
//!
//! The comparison itself (permitted, excluded, which subtree) stays with OpenSSL.

use x509_parser::extensions::{GeneralName, GeneralSubtree, ParsedExtension};

use super::TrustErrorKind;
use super::rules::{Member, Violation};

/// Checks every constraint of a path, leaf first, and every name below it.
pub(super) fn check(path: &[Member<'_>]) -> Result<(), Violation> {
    for (depth, issuer) in path.iter().enumerate() {
        let Some((constraints, _)) = issuer.name_constraints() else { continue };
        let permitted = constraints.permitted_subtrees.as_deref().unwrap_or_default();
        let excluded = constraints.excluded_subtrees.as_deref().unwrap_or_default();
        if permitted.is_empty() && excluded.is_empty() {
            return Err(violation(depth, "its name constraints constrain nothing"));
        }
        for subtree in permitted.iter().chain(excluded) {
            if !is_constraint(&subtree.base) {
                return Err(violation(depth, "a name constraint in it is malformed"));
            }
        }
        let limits = Limits { permitted, excluded };
        for (below, member) in path.iter().enumerate().take(depth) {
            // §6.1.3 (b): a self-issued certificate is exempt unless it is the last
            if below == 0 || !member.is_self_issued() {
                limits.check(member).map_err(|what| violation(below, what))?;
            }
        }
    }
    Ok(())
}

/// Whether a `*` may be the leftmost label.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wildcard {
    Allowed,
    Refused,
}

/// The preferred name syntax of RFC 1034 §3.5 with RFC 1123 §2.1, of at least one label that is not all
/// digits.
pub(super) fn is_preferred_syntax(name: &str, wildcard: Wildcard) -> bool {
    let last_is_number =
        name.rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
    !last_is_number && !name.contains('_') && is_host(name, wildcard)
}

/// `local@host`, as little as RFC 5321 mailboxes have in common: one `@`, nothing unprintable.
pub(super) fn is_mailbox(text: &str) -> bool {
    let Some((local, host)) = text.split_once('@') else { return false };
    !local.is_empty() && local.bytes().all(|b| b.is_ascii_graphic()) && is_host(host, Wildcard::Refused)
}

fn violation(depth: usize, what: &str) -> Violation {
    Violation { kind: TrustErrorKind::Untrusted, depth, what: what.to_owned() }
}

/// The constraints of one CA.
struct Limits<'l, 'a> {
    permitted: &'l [GeneralSubtree<'a>],
    excluded: &'l [GeneralSubtree<'a>],
}

impl<'a> Limits<'_, 'a> {
    fn check(&self, member: &Member<'a>) -> Result<(), &'static str> {
        for extension in member.certificate.extensions() {
            let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() else {
                continue;
            };
            for name in &names.general_names {
                self.check_name(name)?;
            }
        }
        // OpenSSL holds these to e-mail constraints too
        for attribute in member.certificate.subject.iter_email() {
            match attribute.as_str() {
                Ok(text) => self.check_name(&GeneralName::RFC822Name(text))?,
                Err(_) => self.check_name(&GeneralName::RFC822Name(""))?,
            }
        }
        Ok(())
    }

    fn check_name(&self, name: &GeneralName<'a>) -> Result<(), &'static str> {
        match name {
            GeneralName::DNSName(text) if self.any(|base| matches!(base, GeneralName::DNSName(_))) => {
                if !is_host(text, Wildcard::Allowed) {
                    return Err("it has a malformed dNSName below a DNS constraint");
                }
                if text.strip_prefix("*.").is_some_and(|parent| self.excludes_below(parent)) {
                    return Err("it has a wildcard that covers names which a CA above it must not certify");
                }
                Ok(())
            }
            GeneralName::RFC822Name(text) if self.any(|base| matches!(base, GeneralName::RFC822Name(_))) => {
                if is_mailbox(text) {
                    Ok(())
                } else {
                    Err("it has a malformed e-mail address below a constraint")
                }
            }
            GeneralName::IPAddress(octets) if self.any(|base| matches!(base, GeneralName::IPAddress(_))) => {
                match octets.len() {
                    4 | 16 => Ok(()),
                    _ => Err("it has a malformed iPAddress below a constraint"),
                }
            }
            GeneralName::Invalid(..) => Err("it has an unreadable alternative name below a name constraint"),
            _ => Ok(()),
        }
    }

    fn any(&self, kind: impl Fn(&GeneralName<'a>) -> bool) -> bool {
        self.permitted.iter().chain(self.excluded).any(|subtree| kind(&subtree.base))
    }

    /// Whether a name below `parent` is excluded: `*.example.com` when `bar.example.com` is.
    fn excludes_below(&self, parent: &str) -> bool {
        let parent = parent.to_ascii_lowercase();
        self.excluded.iter().any(|subtree| match subtree.base {
            GeneralName::DNSName(excluded) => {
                let excluded = excluded.to_ascii_lowercase();
                excluded.strip_suffix(&parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            _ => false,
        })
    }
}

/// Whether this is a constraint that §4.2.1.10 knows. Kinds that OpenSSL does not know it refuses itself, and
/// only where a name of that kind is met.
fn is_constraint(base: &GeneralName<'_>) -> bool {
    match base {
        // no leading period: "host.example.com", and an empty one covers every name
        GeneralName::DNSName(text) => text.is_empty() || is_host(text, Wildcard::Refused),
        GeneralName::RFC822Name(text) if text.contains('@') => is_mailbox(text),
        // one host, or with a leading period every host below
        GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
            text.is_empty() || is_host(text.strip_prefix('.').unwrap_or(text), Wildcard::Refused)
        }
        GeneralName::IPAddress(octets) => is_network(octets),
        GeneralName::Invalid(..) => false,
        _ => true,
    }
}

/// An address and a mask in CIDR style (RFC 4632): ones, then zeros.
fn is_network(octets: &[u8]) -> bool {
    if octets.len() != 8 && octets.len() != 32 {
        return false;
    }
    let (_, mask) = octets.split_at(octets.len() / 2);
    let all = mask.iter().fold(0_u128, |bits, &octet| (bits << 8) | u128::from(octet));
    let unused = u128::BITS - if octets.len() == 8 { 32 } else { 128 };
    let aligned = all << unused;
    aligned.leading_ones() + aligned.trailing_zeros() == u128::BITS
}

/// Labels of letters, digits, hyphens and underscores (which are no host names, but compare like them).
fn is_host(name: &str, wildcard: Wildcard) -> bool {
    let name = match wildcard {
        Wildcard::Allowed => name.strip_prefix("*.").unwrap_or(name),
        Wildcard::Refused => name,
    };
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_ones_and_then_zeros() {
        for (mask, is) in [
            ([255, 255, 255, 0], true),
            ([255, 255, 240, 0], true),
            ([0, 0, 0, 0], true),
            ([255, 255, 255, 255], true),
            ([255, 0, 255, 0], false),
            ([0, 255, 0, 0], false),
            ([255, 255, 253, 0], false),
        ] {
            let network = [&[192, 0, 2, 0][..], &mask].concat();
            assert_eq!(is_network(&network), is, "{mask:?}");
        }
        assert!(!is_network(&[192, 0, 2, 1]));
        assert!(!is_network(&[]));
    }

    #[test]
    fn a_dns_constraint_has_no_leading_period_and_no_wildcard() {
        let dns = |text| is_constraint(&GeneralName::DNSName(text));
        assert!(dns("example.com") && dns("com") && dns(""));
        assert!(
            !dns(".example.com") && !dns("*.example.com") && !dns("example.com.") && !dns("exa mple.com")
        );
    }

    #[test]
    fn an_email_constraint_is_a_mailbox_a_host_or_a_domain() {
        let email = |text| is_constraint(&GeneralName::RFC822Name(text));
        assert!(email("a@example.com") && email("example.com") && email(".example.com"));
        assert!(!email("a@b@example.com") && !email("@example.com") && !email("a@"));
    }

    #[test]
    fn a_wildcard_collides_with_what_is_excluded_below_it() {
        let excluded = [GeneralSubtree { base: GeneralName::DNSName("Bar.example.com") }];
        let limits = Limits { permitted: &[], excluded: &excluded };
        assert!(limits.check_name(&GeneralName::DNSName("*.example.com")).is_err());
        assert!(limits.check_name(&GeneralName::DNSName("*.EXAMPLE.com")).is_err());
        assert!(limits.check_name(&GeneralName::DNSName("*.example.org")).is_ok());
        assert!(limits.check_name(&GeneralName::DNSName("*.ample.com")).is_ok());
        assert!(limits.check_name(&GeneralName::DNSName("foo.example.com")).is_ok());
    }

    #[test]
    fn an_address_is_not_in_preferred_name_syntax() {
        for text in
            ["192.0.2.1", "a_b.example.com", "", ".", "a..b", "-a.example.com", "*", "a.*.b", "exa\0mple"]
        {
            assert!(!is_preferred_syntax(text, Wildcard::Allowed), "{text}");
        }
        assert!(is_preferred_syntax("*.example.com", Wildcard::Allowed));
        assert!(!is_preferred_syntax("*.example.com", Wildcard::Refused));
        assert!(is_preferred_syntax("4u.example.com", Wildcard::Refused));
    }
}
