//! RFC 8414 §3, §4 and §6: where the metadata are, how they are answered, and how texts are compared.

use openssl::ssl::SslVersion;
use serde_json::{Value, json};
use url::Url;

use crate::check::{Halt, Outcome, ensure, ensure_equal, fail, not_applicable, untestable};
use crate::checks;
use crate::lab::{Document, Lab, Submission};
use crate::pki::Leaf;
use crate::wire::Tls;

/// The suites of TLS 1.2 with forward secrecy, confidentiality and integrity in one, which everybody has.
const GOOD: &str = "ECDHE+AESGCM";
/// What must not come about, in OpenSSL's language; what this side cannot offer any more is left out.
const BAD: [&str; 6] = [
    "eNULL",
    "aNULL",
    "RC4",
    "EXPORT",
    "3DES",
    "AES128-SHA:AES256-SHA:ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA256",
];

checks! {
    the_metadata_are_at_the_well_known_place => ["RFC8414-3-a", "RFC9700-2.6-a", "FAPI2SP-5.3.2.1-a"],
    the_metadata_are_https_only => ["RFC8414-3-b"],
    all_documents_about_the_issuer_agree => ["RFC8414-3-c", "RFC9068-4-b"],
    the_metadata_are_there_to_be_read => ["RFC8414-3.1-a"],
    a_slash_at_the_end_of_the_issuer_does_not_count => ["RFC8414-3.1-b"],
    another_path_is_another_issuer => ["RFC8414-3.1-c"],
    the_metadata_are_json => ["RFC8414-3.2-a"],
    what_can_be_many_is_a_list_with_elements => ["RFC8414-3.2-b"],
    what_is_not_there_is_404 => ["RFC8414-3.2-c"],
    the_issuer_is_the_one_that_was_asked => ["RFC8414-3.3-a"],
    json_escapes_mean_their_characters (slow) => ["RFC8414-4-a"],
    characters_that_look_alike_are_different => ["RFC8414-4-a", "RFC8414-4-b"],
    the_metadata_come_over_tls_1_2 => ["RFC8414-6.1-a"],
    suites_without_secrecy_or_integrity_are_refused (slow) => ["RFC8414-6.1-b"],
}

fn the_metadata_are_at_the_well_known_place(lab: &Lab) -> Outcome {
    let answer = lab.get(&lab.well_known("oauth-authorization-server")?).send();
    answer.expect_status(200)?;
    ensure(answer.json().get("issuer").is_some(), "metadata", answer.seen())
}

fn the_metadata_are_https_only(lab: &Lab) -> Outcome {
    let (url, _) = lab.published()?;
    ensure(url.scheme() == "https", "metadata at an https URL", &url)?;
    let answer = lab.get(&url).tls(Tls::Plain).send();
    let refused = match answer.status() {
        None => true,
        Some(300..=399) => answer.header("location").is_some_and(|to| to.starts_with("https://")),
        Some(status) => (400..500).contains(&status),
    };
    ensure(refused, "no answer without TLS, or a refusal", answer.seen())?;
    ensure(answer.json().get("issuer").is_none(), "no metadata without TLS", answer.seen())
}

fn all_documents_about_the_issuer_agree(lab: &Lab) -> Outcome {
    let (place, answer) = lab.published()?;
    let first = answer.json();
    let mut others = 0;
    for url in names_of_openid(lab)?.into_iter().chain([lab.well_known("oauth-authorization-server")?]) {
        if url == place {
            continue;
        }
        let answer = lab.get(&url).send();
        if answer.status() != Some(200) {
            continue;
        }
        others += 1;
        let second = answer.json();
        for (name, value) in first.as_object().into_iter().flatten() {
            let same = second.get(name).is_none_or(|other| is_same(value, other));
            ensure(same, format_args!("{name} at {url} is {value}, as at {place}"), &second)?;
        }
        ensure_equal("issuer", &first.get("issuer"), &second.get("issuer"))?;
    }
    if others == 0 { not_applicable("the metadata are at one place only") } else { Ok(()) }
}

/// Both places of the `OpenID` document: before the path of the issuer, and after it.
fn names_of_openid(lab: &Lab) -> Result<Vec<Url>, Halt> {
    let before = lab.well_known("openid-configuration")?;
    let mut after = lab.issuer_url()?;
    let path = format!("{}/.well-known/openid-configuration", after.path().trim_end_matches('/'));
    after.set_path(&path);
    Ok(if before == after { vec![before] } else { vec![before, after] })
}

/// Equal, where the order of a list says nothing.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one.as_array(), other.as_array()) {
        (Some(one), Some(other)) => one.len() == other.len() && one.iter().all(|value| other.contains(value)),
        _ => one == other,
    }
}

fn the_metadata_are_there_to_be_read(lab: &Lab) -> Outcome {
    let (url, _) = lab.published()?;
    let Ok(mut connection) = lab.connect(&url, None, Tls::Modern) else {
        return fail("a connection", "none");
    };
    let (exchange, answer) = connection.exchange(&lab.get(&url).method("HEAD").octets(&url), true);
    let after_the_head =
        exchange.received.windows(4).position(|octets| octets == b"\r\n\r\n").map(|at| at + 4);
    let rest = after_the_head.and_then(|at| exchange.received.get(at..)).unwrap_or_default().to_vec();
    lab.record(exchange);
    let Some(answer) = answer else { return fail("an answer to HEAD", "none") };
    ensure(answer.status == 200, "200 for HEAD", answer.status)?;
    ensure(rest.is_empty(), "no body for HEAD", String::from_utf8_lossy(&rest))?;
    let closed = answer.header("connection").is_some_and(|word| word.eq_ignore_ascii_case("close"));
    if !closed {
        // A body that came late would be taken for the beginning of this answer.
        lab.raw(&mut connection, &lab.get(&url).octets(&url)).expect_status(200)?;
    }
    let posted = lab.post(&url).send();
    let status = posted.expect_answer()?.status;
    ensure((400..500).contains(&status), "POST is refused, as 405", posted.seen())?;
    let allowed = posted.header("allow").unwrap_or("none");
    let both = ["GET", "HEAD"].iter().all(|method| allowed.split(',').any(|word| word.trim() == *method));
    ensure(status != 405 || both, "Allow: GET, HEAD", format_args!("Allow: {allowed}"))
}

fn a_slash_at_the_end_of_the_issuer_does_not_count(lab: &Lab) -> Outcome {
    let url = lab.well_known("oauth-authorization-server")?;
    ensure(!url.path().ends_with('/'), "a place without a slash at its end", &url)?;
    let answer = lab.get(&url).send();
    answer.expect_status(200)?;
    ensure(answer.json().get("issuer").is_some(), "metadata", answer.seen())
}

fn another_path_is_another_issuer(lab: &Lab) -> Outcome {
    let (place, _) = lab.published()?;
    let mut unknown = place.clone();
    unknown.set_path(&format!("/.well-known/oauth-authorization-server/{}", lab.unique()));
    lab.get(&unknown).send().expect_status(404)?;
    if lab.issuer_url()?.path().trim_matches('/').is_empty() {
        return Ok(());
    }
    // The host without a path is another issuer too, if it is one at all.
    let mut bare = place;
    bare.set_path("/.well-known/oauth-authorization-server");
    let answer = lab.get(&bare).send();
    if answer.status() == Some(200) {
        let ours = answer.json().get("issuer") == Some(&json!(lab.issuer()));
        return ensure(!ours, "another issuer, or 404, where there is no path", answer.seen());
    }
    answer.expect_status(404).map(drop)
}

fn the_metadata_are_json(lab: &Lab) -> Outcome {
    lab.published()?.1.expect_json(200).map(drop)
}

fn what_can_be_many_is_a_list_with_elements(lab: &Lab) -> Outcome {
    let document = lab.document()?;
    for (name, value) in document.as_object().into_iter().flatten() {
        // §2 asks for this member even if there is nothing in it.
        let exempt = name == "response_types_supported";
        ensure(exempt || *value != json!([]), format_args!("{name} has elements or is left out"), value)?;
        let many = name.ends_with("s_supported") && !value.is_boolean();
        ensure(!many || value.is_array(), format_args!("{name} is a list"), value)?;
    }
    Ok(())
}

fn what_is_not_there_is_404(lab: &Lab) -> Outcome {
    let (place, _) = lab.published()?;
    for path in [format!("/.well-known/{}", lab.unique()), format!("{}/{}", place.path(), lab.unique())] {
        let mut url = place.clone();
        url.set_path(&path);
        lab.get(&url).send().expect_status(404)?;
    }
    Ok(())
}

fn the_issuer_is_the_one_that_was_asked(lab: &Lab) -> Outcome {
    let document = lab.document()?;
    ensure_equal("issuer", &Some(&json!(lab.issuer())), &document.get("issuer"))?;
    let token = lab.good_token(lab.pki_client()?)?;
    match token.claims() {
        Ok(claims) => ensure_equal("iss", &document.get("issuer"), &claims.get("iss")),
        Err(_) => Ok(()),
    }
}

fn json_escapes_mean_their_characters(lab: &Lab) -> Outcome {
    let host = format!("{}.suite.example", lab.unique());
    let shown = lab.issue(&Leaf::new(&host).dns(&host))?;
    let document = Document::pki("san_dns", &host).rewritten(escaped);
    let client = lab.register(&document, &shown)?;
    lab.good_token(&client).map(drop)
}

/// JSON in which every letter of every text is written as an escape.
fn escaped(text: &str) -> String {
    let mut inside = false;
    let escape = |character: char| {
        if character == '"' {
            inside = !inside;
        }
        let letter = inside && character.is_ascii_alphabetic();
        if letter { format!("\\u{:04x}", u32::from(character)) } else { character.to_string() }
    };
    text.chars().map(escape).collect()
}

fn characters_that_look_alike_are_different(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    lab.good_token(client)?;
    let (word, _) = lab.scope();
    lab.token(client).with("scope", word).send().expect_token()?;
    for other in lookalikes(&client.id) {
        lab.token(client).set("client_id", &other).send().expect_refused()?;
    }
    for other in lookalikes(word) {
        let answer = lab.token(client).with("scope", &other).send();
        if answer.status() == Some(200) {
            let granted = lab.granted(&answer.expect_token()?)?;
            ensure(
                !granted.contains(word),
                format_args!("{other:?} is not {word:?}"),
                format_args!("{granted:?}"),
            )?;
        } else {
            answer.expect_refused()?;
        }
    }
    composed(lab)
}

/// The first letter in its wide form, which is the same under compatibility; the whole in capitals; and after a letter an
/// accent that is none.
fn lookalikes(text: &str) -> Vec<String> {
    let mut letters = text.chars();
    let Some(first) = letters.next() else { return Vec::new() };
    let rest = letters.as_str();
    let wide = char::from_u32(u32::from(first).saturating_add(0xfee0)).unwrap_or(first);
    let all = [format!("{wide}{rest}"), text.to_ascii_uppercase(), format!("{text}\u{200d}")];
    all.into_iter().filter(|other| other != text).collect()
}

/// Where a client may be called so, é as one character and as two is two clients.
fn composed(lab: &Lab) -> Outcome {
    let host = format!("{}.suite.example", lab.unique());
    let shown = lab.issue(&Leaf::new(&host).dns(&host))?;
    let named = |id: &str| Document::pki("san_dns", &host).with("client_id", id);
    let (one, two) = (format!("caf\u{e9}-{host}"), format!("cafe\u{301}-{host}"));
    match lab.submit(&named(&one)) {
        Ok(Submission::Accepted { client_id, .. }) if client_id == one => {
            let client = crate::lab::Client { id: client_id, shown };
            lab.settle(&client);
            lab.good_token(&client)?;
            lab.token(&client).set("client_id", &two).send().expect_refused()
        }
        _ => Ok(()),
    }
}

fn the_metadata_come_over_tls_1_2(lab: &Lab) -> Outcome {
    let (url, _) = lab.published()?;
    for url in [url, lab.endpoint("token_endpoint")?] {
        let tls = Tls::Offer { min: SslVersion::TLS1_2, max: SslVersion::TLS1_2, ciphers: GOOD };
        lab.get(&url).tls(tls).send().expect_answer()?;
    }
    lab.token(lab.pki_client()?).tls(Tls::Only12).send().expect_token().map(drop)
}

fn suites_without_secrecy_or_integrity_are_refused(lab: &Lab) -> Outcome {
    let (url, _) = lab.published()?;
    let offer = |ciphers| Tls::Offer { min: SslVersion::TLS1_2, max: SslVersion::TLS1_2, ciphers };
    for url in [url, lab.endpoint("token_endpoint")?] {
        lab.get(&url).tls(offer(GOOD)).send().expect_answer()?;
        let mut offered = 0;
        for ciphers in BAD {
            let answer = lab.get(&url).tls(offer(ciphers)).send();
            // Not every OpenSSL has them all.
            if answer.seen().contains("this side cannot offer it") {
                continue;
            }
            offered += 1;
            answer.expect_alert()?;
        }
        if offered == 0 {
            return untestable("the OpenSSL of the suite has no suite that is bad enough");
        }
    }
    Ok(())
}
