//! How long an answer may be used without asking again (RFC 9111 §4.2), for a cache that nobody shares.

use std::time::Duration;

use reqwest::header::{self, HeaderMap, HeaderName};

/// Numbers of seconds above this one are this one (RFC 9111 §1.2.2).
const LONGEST: u64 = 1 << 31;

/// The lifetime less the age (RFC 9111 §4.2.1 and §4.2.3); none if the server says nothing of it. `s-maxage` is for
/// shared caches. What is said but cannot be read means stale.
pub(super) fn lifetime(headers: &HeaderMap) -> Option<Duration> {
    let directives: Vec<_> = texts(headers, header::CACHE_CONTROL).flat_map(directives).collect();
    let named = |name: &str| directives.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    if named("no-store").is_some() || named("no-cache").is_some() {
        return Some(Duration::ZERO);
    }
    let lifetime = match named("max-age") {
        Some((_, value)) => seconds(value).unwrap_or(0),
        None => until_expiry(headers)?,
    };
    let age = texts(headers, header::AGE).next().and_then(seconds).unwrap_or(0);
    Some(Duration::from_secs(lifetime.saturating_sub(age)))
}

/// `Expires` less `Date`: both of the server's clock.
fn until_expiry(headers: &HeaderMap) -> Option<u64> {
    let expires = headers.get(header::EXPIRES)?;
    let Some(expires) = expires.to_str().ok().and_then(|text| httpdate::parse_http_date(text).ok()) else {
        return Some(0);
    };
    let date = texts(headers, header::DATE).next().and_then(|text| httpdate::parse_http_date(text).ok())?;
    Some(expires.duration_since(date).unwrap_or_default().as_secs().min(LONGEST))
}

fn texts(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok()).map(str::trim)
}

/// Name and value of each directive (RFC 9111 §5.2); the value may be in quotes, and a comma within them does not end it.
fn directives(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut quoted = false;
    let parts = line.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    parts.map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (name.trim(), value.trim().trim_matches('"'))
    })
}

/// `delta-seconds`.
fn seconds(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().map_or(LONGEST, |seconds: u64| seconds.min(LONGEST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(lines: &[(HeaderName, &str)]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value.parse().unwrap());
        }
        lifetime(&headers).map(|fresh| fresh.as_secs())
    }

    #[test]
    fn the_lifetime_is_max_age_less_age() {
        use header::{AGE, CACHE_CONTROL};
        assert_eq!(fresh(&[]), None);
        assert_eq!(fresh(&[(CACHE_CONTROL, "public, must-revalidate")]), None);
        assert_eq!(fresh(&[(CACHE_CONTROL, "public, Max-Age=600")]), Some(600));
        assert_eq!(fresh(&[(CACHE_CONTROL, "max-age=\"600\"")]), Some(600));
        assert_eq!(fresh(&[(CACHE_CONTROL, "max-age=600"), (AGE, "200")]), Some(400));
        assert_eq!(fresh(&[(CACHE_CONTROL, "max-age=600"), (AGE, "700")]), Some(0));
        assert_eq!(fresh(&[(CACHE_CONTROL, "max-age=600"), (AGE, "soon")]), Some(600));
        assert_eq!(fresh(&[(CACHE_CONTROL, "max-age=1, max-age=600")]), Some(1));
        assert_eq!(fresh(&[(CACHE_CONTROL, "private"), (CACHE_CONTROL, "max-age=7")]), Some(7));
        assert_eq!(fresh(&[(CACHE_CONTROL, "x=\"a, max-age=9, b\", max-age=7")]), Some(7));
        assert_eq!(fresh(&[(CACHE_CONTROL, "max-age=99999999999999999999999")]), Some(LONGEST));
        assert_eq!(fresh(&[(CACHE_CONTROL, "s-maxage=600")]), None, "it is for shared caches");
    }

    #[test]
    fn what_may_not_be_kept_or_cannot_be_read_is_stale() {
        use header::{CACHE_CONTROL, EXPIRES};
        for line in [
            "no-store",
            "max-age=600, no-cache",
            "NO-CACHE=\"a, b\", max-age=5",
            "max-age=-1",
            "max-age=1.5",
            "max-age",
        ] {
            assert_eq!(fresh(&[(CACHE_CONTROL, line)]), Some(0), "{line}");
        }
        assert_eq!(fresh(&[(EXPIRES, "0")]), Some(0));
    }

    #[test]
    fn expires_counts_from_the_servers_own_date_and_yields_to_max_age() {
        use header::{AGE, CACHE_CONTROL, DATE, EXPIRES};
        let date = (DATE, "Sun, 06 Nov 1994 08:49:37 GMT");
        for form in
            ["Sun, 06 Nov 1994 08:51:17 GMT", "Sunday, 06-Nov-94 08:51:17 GMT", "Sun Nov  6 08:51:17 1994"]
        {
            assert_eq!(fresh(&[date.clone(), (EXPIRES, form)]), Some(100), "{form}");
        }
        let expires = (EXPIRES, "Sun, 06 Nov 1994 08:51:17 GMT");
        assert_eq!(fresh(&[date.clone(), expires.clone(), (AGE, "40")]), Some(60));
        assert_eq!(fresh(&[date.clone(), expires.clone(), (CACHE_CONTROL, "max-age=5")]), Some(5));
        assert_eq!(fresh(&[date, (EXPIRES, "Sun, 06 Nov 1994 08:49:36 GMT")]), Some(0));
        assert_eq!(fresh(&[expires]), None, "without a date nobody knows how long that is");
    }
}
