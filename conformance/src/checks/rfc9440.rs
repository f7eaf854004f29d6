//! RFC 9440: certificates in headers. The suite is the proxy; and to clients that connect directly the server is its own
//! proxy, whose duty it is to overlook what they say about certificates.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Value, json};
use url::Url;

use crate::check::{Halt, Outcome, ensure, ensure_equal};
use crate::checks;
use crate::lab::{Answer, Client, Document, Lab, client_cert, client_cert_chain};
use crate::pki::{Key, Leaf, Shown, pem};
use crate::wire::Tls;

checks! {
    a_certificate_in_a_header_is_a_byte_sequence => ["RFC9440-2.1-a"],
    no_answer_has_certificate_headers => ["RFC9440-2.2-a", "RFC9440-2.3-d"],
    two_certificates_in_headers_are_none => ["RFC9440-2.2-b"],
    the_certificate_in_the_header_is_the_bound_one => ["RFC9440-2.2-c"],
    a_chain_may_come_beside_the_certificate => ["RFC9440-2.3-a"],
    a_chain_alone_is_no_certificate => ["RFC9440-2.3-b"],
    a_chain_may_come_in_several_lines => ["RFC9440-2.3-c"],
    a_client_cannot_overwrite_its_certificate => ["RFC9440-2.4-a", "RFC9700-4.13-a"],
    a_header_replaces_no_certificate => ["RFC9440-2.4-b", "RFC9440-2.4-e", "RFC9700-4.13-a"],
    a_wrong_certificate_from_a_proxy_is_an_oauth_error => ["RFC9440-2.4-c"],
    answers_through_a_proxy_may_not_be_stored => ["RFC9440-2.4-d"],
    large_certificates_fit_into_headers (slow) => ["RFC9440-3.2-a"],
    resumption_loses_no_certificate => ["RFC9440-3.3-a"],
    certificate_headers_are_off_by_default => ["RFC9440-4-a"],
    only_the_proxy_is_believed => ["RFC9440-4-b"],
    nobody_reads_along_behind_the_proxy => ["RFC9440-4-c", "RFC9700-4.13-b"],
    the_certificate_of_the_proxy_is_its_own => ["RFC9440-4-d"],
}

const CLIENT_CERT: &str = "Client-Cert";
const CLIENT_CERT_CHAIN: &str = "Client-Cert-Chain";

/// TOK through the proxy with this in `Client-Cert`.
fn forwarded(lab: &Lab, client: &Client, value: &str) -> Result<Answer, Halt> {
    Ok(lab.forwarded_token(client)?.header(CLIENT_CERT, value).send())
}

/// The way through the proxy is open for this client.
fn open(lab: &Lab, client: &Client) -> Outcome {
    forwarded(lab, client, &client_cert(&client.shown))?.expect_token().map(drop)
}

fn a_certificate_in_a_header_is_a_byte_sequence(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    open(lab, client)?;
    let (der, base64) = (client.shown.leaf(), STANDARD.encode(client.shown.leaf()));
    let text = pem("CERTIFICATE", der);
    let (first, second) = base64.split_at(base64.len() / 2);
    let mut wrong = vec![
        base64.clone(),
        text.replace('\n', " ").trim_end().to_owned(),
        text.replace('\n', "%0A").replace('+', "%2B").replace('/', "%2F").replace('=', "%3D"),
        format!(":{first} {second}:"),
        format!(":{base64}"),
        format!("{base64}:"),
        format!("\"{base64}\""),
        format!(":{}:", STANDARD.encode(text.as_bytes())),
        format!(":{}:", STANDARD.encode(b"no certificate")),
    ];
    let url_safe = URL_SAFE.encode(der);
    if url_safe != base64 {
        wrong.push(format!(":{url_safe}:"));
    }
    for value in wrong {
        forwarded(lab, client, &value)?.expect_error_of(400, &["invalid_request", "invalid_client"])?;
    }
    Ok(())
}

fn no_answer_has_certificate_headers(lab: &Lab) -> Outcome {
    let (client, server) = (lab.pki_client()?, lab.resource_server()?);
    let token = lab.good_token(client)?;
    let mut answers = vec![
        lab.token(client).send(),
        lab.token(client).no_certificate().at(&lab.conventional("token_endpoint")?).send(),
        lab.introspect(server, &token.text).send(),
        lab.revoke(client, &token.text).send(),
        lab.get(&lab.conventional("jwks_uri")?).send(),
    ];
    if lab.target().config.forwarded.is_some() {
        let through = forwarded(lab, client, &client_cert(&client.shown))?;
        through.expect_token()?;
        answers.extend([through, forwarded(lab, client, "none")?]);
    }
    for answer in answers {
        answer.expect_answer()?;
        for name in [CLIENT_CERT, CLIENT_CERT_CHAIN] {
            ensure(answer.header(name).is_none(), format_args!("no {name} in an answer"), answer.seen())?;
        }
    }
    Ok(())
}

fn two_certificates_in_headers_are_none(lab: &Lab) -> Outcome {
    let (client, other) = (lab.pki_client()?, lab.other_client()?);
    open(lab, client)?;
    open(lab, other)?;
    let (own, foreign) = (client_cert(&client.shown), client_cert(&other.shown));
    for (first, second) in [(&own, &foreign), (&foreign, &own), (&own, &own)] {
        let lines = lab.forwarded_token(client)?.header(CLIENT_CERT, first).header(CLIENT_CERT, second);
        lines.send().expect_error(400, "invalid_request")?;
        forwarded(lab, client, &format!("{first}, {second}"))?.expect_error(400, "invalid_request")?;
    }
    Ok(())
}

fn the_certificate_in_the_header_is_the_bound_one(lab: &Lab) -> Outcome {
    let host = format!("{}.suite.example", lab.unique());
    let below = lab.ca()?.authority(&Leaf::authority("Suite issuing CA"))?;
    let chained = below.issue(&Leaf::new("any").dns(&host))?;
    let chained = lab.register(&Document::pki("san_dns", &host), &chained)?;
    for client in [lab.pki_client()?, lab.other_client()?, &chained] {
        let mut request = lab.forwarded_token(client)?.header(CLIENT_CERT, &client_cert(&client.shown));
        if client.shown.chain.len() > 1 {
            request = request.header(CLIENT_CERT_CHAIN, &client_cert_chain(&client.shown));
        }
        let token = request.send().expect_token()?;
        let expected = json!({"x5t#S256": client.shown.thumbprint()});
        ensure_equal("cnf", &expected, &lab.confirmation(&token)?)?;
    }
    Ok(())
}

/// A client whose certificate is below so many CAs that the server does not know.
fn chained_client(lab: &Lab, length: usize) -> Result<Client, Halt> {
    let host = format!("{}.suite.example", lab.unique());
    let mut ca = lab.ca()?.clone();
    for number in 0..length {
        ca = ca.authority(&Leaf::authority(&format!("Suite issuing CA {number}")))?;
    }
    let shown = ca.issue(&Leaf::new("any").dns(&host))?;
    lab.register(&Document::pki("san_dns", &host), &shown)
}

fn a_chain_may_come_beside_the_certificate(lab: &Lab) -> Outcome {
    let client = chained_client(lab, 1)?;
    let (leaf, chain) = (client_cert(&client.shown), client_cert_chain(&client.shown));
    let with = |chain: &str| -> Result<Answer, Halt> {
        let request = lab.forwarded_token(&client)?.header(CLIENT_CERT, &leaf);
        Ok(request.header(CLIENT_CERT_CHAIN, chain).send())
    };
    with(&chain)?.expect_token()?;
    forwarded(lab, &client, &leaf)?.expect_refused()?;
    let bare = chain.trim_matches(':');
    for wrong in [format!("{chain}, \"text\""), format!("{chain}, token, 7"), bare.to_owned()] {
        with(&wrong)?.expect_error_of(400, &["invalid_request", "invalid_client"])?;
    }
    Ok(())
}

fn a_chain_alone_is_no_certificate(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    open(lab, client)?;
    let own = client_cert(&client.shown);
    for chain in [own.clone(), format!("{own}, {}", client_cert(&lab.other_client()?.shown))] {
        let answer = lab.forwarded_token(client)?.header(CLIENT_CERT_CHAIN, &chain).send();
        answer.expect_error_of(400, &["invalid_request", "invalid_client"])?;
    }
    Ok(())
}

fn a_chain_may_come_in_several_lines(lab: &Lab) -> Outcome {
    let client = chained_client(lab, 2)?;
    let chain = client_cert_chain(&client.shown);
    let root = format!(":{}:", STANDARD.encode(lab.ca()?.certificate()));
    let start = || -> Result<_, Halt> {
        Ok(lab.forwarded_token(&client)?.header(CLIENT_CERT, &client_cert(&client.shown)))
    };
    start()?.header(CLIENT_CERT_CHAIN, &chain).send().expect_token()?;
    start()?.header(CLIENT_CERT_CHAIN, &format!("{chain}, {root}")).send().expect_token()?;
    let lines = chain.split(", ").map(ToOwned::to_owned);
    let apart = lines.fold(start()?, |request, line| request.header(CLIENT_CERT_CHAIN, &line));
    apart.send().expect_token()?;
    Ok(())
}

/// Where clients connect without a proxy.
fn direct(lab: &Lab) -> Result<Vec<Url>, Halt> {
    lab.urls("token_endpoint")
}

fn a_client_cannot_overwrite_its_certificate(lab: &Lab) -> Outcome {
    let (client, other) = (lab.pki_client()?, lab.other_client()?);
    lab.good_token(client)?;
    lab.good_token(other)?;
    let foreign = client_cert(&other.shown);
    lab.token(other).certificate(&client.shown).header(CLIENT_CERT, &foreign).send().expect_refused()?;
    let answer = lab.token(client).header(CLIENT_CERT, &foreign).send();
    if answer.status() != Some(200) {
        return answer.expect_refused();
    }
    let confirmation = lab.confirmation(&answer.expect_token()?)?;
    let seen = confirmation.get("x5t#S256").and_then(Value::as_str).unwrap_or_default();
    ensure_equal("x5t#S256", &client.shown.thumbprint().as_str(), &seen)
}

fn a_header_replaces_no_certificate(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    lab.good_token(client)?;
    for url in direct(lab)? {
        let request = lab.token(client).at(&url).no_certificate();
        request.header(CLIENT_CERT, &client_cert(&client.shown)).send().expect_refused()?;
    }
    Ok(())
}

fn a_wrong_certificate_from_a_proxy_is_an_oauth_error(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    open(lab, client)?;
    for stranger in [lab.issue(&Leaf::new(&lab.unique()))?, Leaf::new("nobody").self_signed()?] {
        forwarded(lab, client, &client_cert(&stranger))?.expect_invalid_client()?;
    }
    Ok(())
}

fn answers_through_a_proxy_may_not_be_stored(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    open(lab, client)?;
    let good = forwarded(lab, client, &client_cert(&client.shown))?;
    let stranger = forwarded(lab, client, &client_cert(&lab.other_client()?.shown))?;
    for answer in [good, stranger, forwarded(lab, client, "none")?, lab.forwarded_token(client)?.send()] {
        let varies = |vary: &str| {
            vary.split(',').any(|name| name.trim() == "*" || name.trim().eq_ignore_ascii_case(CLIENT_CERT))
        };
        if !answer.header("vary").is_some_and(varies) {
            answer.expect_no_store()?;
        }
    }
    Ok(())
}

fn large_certificates_fit_into_headers(lab: &Lab) -> Outcome {
    let host = format!("{}.suite.example", lab.unique());
    let key = Key::rsa(4096)?;
    let mut ca = lab.ca()?.clone();
    for number in 0..2 {
        ca = ca.authority(&Leaf::authority(&format!("Suite large CA {number}")).key(&key))?;
    }
    let shown = ca.issue(&Leaf::new("large").dns(&host).key(&key))?;
    let client = lab.register(&Document::pki("san_dns", &host), &shown)?;
    let request = || -> Result<_, Halt> {
        let request = lab.forwarded_token(&client)?.header(CLIENT_CERT, &client_cert(&shown));
        Ok(request.header(CLIENT_CERT_CHAIN, &client_cert_chain(&shown)))
    };
    request()?.send().expect_token()?;
    // In lines of their own, so that it is the section that is too large.
    let filler = "x".repeat(4096);
    let answer = (0..32).fold(request()?, |request, _| request.header("X-Filler", &filler)).send();
    match answer.status() {
        // To close the connection on a client that still sends is as much of an answer.
        None => answer.expect_alert(),
        Some(status) => {
            ensure(matches!(status, 400 | 413 | 431), "431 for 128 KiB of headers", answer.seen())?;
            ensure(answer.json().get("access_token").is_none(), "no token", answer.seen())
        }
    }
}

fn resumption_loses_no_certificate(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    let bound = |answer: &Answer| -> Outcome {
        if answer.status() != Some(200) {
            return answer.expect_refused();
        }
        let expected = json!({"x5t#S256": client.shown.thumbprint()});
        ensure_equal("cnf", &expected, &lab.confirmation(&answer.expect_token()?)?)
    };
    lab.good_token(client)?;
    for tls in [Tls::Resumed12, Tls::Resumed13] {
        bound(&lab.token(client).tls(tls).send())?;
        // The certificate belongs to the session; it does not open another client.
        let other = lab.token(lab.other_client()?).certificate(&client.shown).tls(tls).send();
        other.expect_refused()?;
        if lab.target().config.forwarded.is_some() {
            let request = lab.forwarded_token(client)?.header(CLIENT_CERT, &client_cert(&client.shown));
            bound(&request.tls(tls).send())?;
        }
    }
    Ok(())
}

fn certificate_headers_are_off_by_default(lab: &Lab) -> Outcome {
    let (client, other) = (lab.pki_client()?, lab.other_client()?);
    lab.good_token(client)?;
    let (own, foreign) = (client_cert(&client.shown), client_cert(&other.shown));
    for url in direct(lab)? {
        let bare = || lab.token(client).at(&url).no_certificate().header(CLIENT_CERT, &own);
        bare().send().expect_refused()?;
        bare().header(CLIENT_CERT_CHAIN, &foreign).send().expect_refused()?;
    }
    Ok(())
}

fn only_the_proxy_is_believed(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    open(lab, client)?;
    if lab.proxy()?.is_none() {
        return crate::check::untestable(
            "the proxy of the suite needs no certificate: it is known by its address",
        );
    }
    let value = client_cert(&client.shown);
    let request = lab.forwarded_token(client)?.header(CLIENT_CERT, &value);
    let named = Leaf::new("proxy").dns("proxy.suite.example");
    let peers: [Shown; 3] = [client.shown.clone(), lab.issue(&named)?, named.self_signed()?];
    request.clone().no_certificate().send().expect_refused()?;
    for peer in &peers {
        request.clone().certificate(peer).send().expect_refused()?;
    }
    Ok(())
}

fn nobody_reads_along_behind_the_proxy(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    open(lab, client)?;
    let url = lab.forwarded("token_endpoint")?;
    ensure_equal("the scheme between proxy and server", &"https", &url.scheme())?;
    let request = lab.forwarded_token(client)?.header(CLIENT_CERT, &client_cert(&client.shown));
    for tls in [Tls::Plain, Tls::OLD] {
        let answer = request.clone().tls(tls).send();
        let refused = answer.status().is_none_or(|status| (400..500).contains(&status));
        ensure(refused, "no answer without good TLS, or a refusal", answer.seen())?;
    }
    Ok(())
}

fn the_certificate_of_the_proxy_is_its_own(lab: &Lab) -> Outcome {
    let client = lab.pki_client()?;
    open(lab, client)?;
    lab.forwarded_token(client)?.send().expect_invalid_client()?;
    lab.forwarded_token(client)?.header(CLIENT_CERT, "").send().expect_refused()?;
    let Some(proxy) = lab.proxy()? else { return Ok(()) };
    // Even for a client that would be known by it.
    let namesake = lab.register(&Document::self_signed(&[&proxy])?, &proxy)?;
    lab.good_token(&namesake)?;
    lab.forwarded_token(&namesake)?.send().expect_invalid_client()
}
