//! What is about to end is counted, told and posted, with whom to ask.

use std::fs;
use std::time::Duration;

use certbound::pki::workshop::{Authority, Identity, Template};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

use crate::support::crl::List;
use crate::support::pki::DAY;
use crate::support::program::json;
use crate::support::server::eventually;
use crate::support::web::{Posted, Web};
use crate::support::{Server, Setup, Shown};

/// A client whose only certificate ends in ten days, and a webhook.
fn setup(web: &Web) -> (Setup, Shown) {
    let mut setup = Setup::new();
    let template = Template::new("edge", setup.pki.now.minus(DAY), setup.pki.now.plus(DAY * 10));
    let edge = Shown::from(&Identity::self_signed(&template).unwrap());
    setup.pinned("edge", &[&edge]);
    let document = fs::read_to_string(setup.path("clients.d/edge.yaml")).unwrap();
    setup.write("clients.d/edge.yaml", format!("{document}contacts: [edge-team@example.com]\n"));
    setup.write("hook", "hunter2\n");
    setup.more = format!(
        "expiry: {{ warn: 30d, webhook: {{ url: \"{}\", secret: {{ file: hook }} }} }}\n\
         outgoing: {{ allow: [127.0.0.0/8, \"::1\"] }}\n",
        web.url("/hook")
    );
    (setup, edge)
}

fn metric(server: &Server, kind: &str, name: &str) -> Option<i64> {
    let text = String::from_utf8(server.admin("/metrics").body).unwrap();
    let label = format!("certbound_certificate_expiry_seconds{{kind=\"{kind}\",name=\"{name}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&label)?.parse().ok())
}

fn is_signed(posted: &Posted) -> bool {
    let header = posted.head.lines().find_map(|line| {
        line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("certbound-signature"))
    });
    let (time, code) = header.unwrap().1.trim().split_once(',').unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(b"hunter2").unwrap();
    mac.update(format!("{}.{}", time.strip_prefix("t=").unwrap(), posted.body).as_bytes());
    let code =
        code.strip_prefix("v1=").and_then(|code| openssl::bn::BigNum::from_hex_str(code).ok()).unwrap();
    mac.verify_slice(&code.to_vec_padded(32).unwrap()).is_ok()
}

#[test]
fn what_ends_soon_is_counted_and_posted_once_with_whom_to_ask() {
    let web = Web::http();
    web.put("/hook", "");
    let (setup, edge) = setup(&web);
    let server = setup.start();
    eventually("the webhook is called", || !web.posted("/hook").is_empty());

    let posted = &web.posted("/hook")[0];
    assert!(is_signed(posted), "{}", posted.head);
    let body: Value = serde_json::from_str(&posted.body).unwrap();
    let [event] = &body["events"].as_array().unwrap()[..] else { panic!("{body:#}") };
    assert_eq!((&event["kind"], &event["client_id"]), (&"pin".into(), &"edge".into()));
    assert_eq!(event["contacts"], serde_json::json!(["edge-team@example.com"]));
    assert_eq!(event["seconds_left"], 10 * 86_400);
    assert!(event["what"].as_str().unwrap().contains("in 10 days"), "{event:#}");

    assert_eq!(metric(&server, "pin", &format!("edge {}", edge.thumbprint())), Some(10 * 86_400));
    assert_eq!(metric(&server, "anchor", "corp CN=Corp CA"), Some(3650 * 86_400));
    assert_eq!(metric(&server, "server", "CN=localhost"), Some(3650 * 86_400));
    let ready: Value = server.admin("/readyz").json();
    assert_eq!(ready["status"], "ready", "what will end one day makes nothing worse today: {ready:#}");
    assert_eq!(web.posted("/hook").len(), 1);
}

#[test]
fn a_webhook_that_was_away_gets_everything_later() {
    let web = Web::http();
    let (setup, _) = setup(&web);
    let server = setup.start();
    eventually("it is tried", || web.asked("/hook") == 1);
    web.put("/hook", "");
    server.setup.clock.advance(Duration::from_secs(61));
    eventually("it is tried again", || web.asked("/hook") == 2);
    let [first, second] = &web.posted("/hook")[..] else { panic!("two attempts") };
    assert_eq!(first.body, second.body);
    assert!(is_signed(second));
}

#[test]
fn the_certificate_that_a_client_uses_is_counted_from_what_was_seen() {
    let server = Server::start();
    let template = Template {
        dns: vec!["billing.example.com".to_owned()],
        ..Template::new("billing", server.setup.pki.now.minus(DAY), server.setup.pki.now.plus(DAY * 40))
    };
    let billing = server.setup.pki.issue(&template);
    assert_eq!(metric(&server, "client", "billing"), None);
    server.good_token("billing", &billing);
    // What was seen is read every ten minutes, and at the start.
    let server = server.stop().start();
    eventually("it is counted", || metric(&server, "client", "billing") == Some(40 * 86_400));
}

#[test]
fn the_lists_of_those_who_vouch_are_counted_and_no_others() {
    let mut setup = Setup::new();
    let now = setup.pki.now;
    let stranger = Authority::new(&setup.pki.template("Stranger")).unwrap();
    setup.write("corp.crl", List::new(1, now).signed_by(&setup.pki.corp));
    setup.write("stranger.crl", List::new(1, now).signed_by(&stranger));
    let lists = "crl: [{ file: corp.crl }, { file: stranger.crl }]";
    setup.anchors = format!(", {lists}");
    let server = setup.start();
    eventually("the list is counted", || metric(&server, "crl", "CN=Corp CA") == Some(7 * 86_400));
    let text = String::from_utf8(server.admin("/metrics").body).unwrap();
    assert!(!text.contains("Stranger"), "kept aside, it is nobody's: {text}");

    let mut setup = server.stop();
    setup.anchors = format!(", revocation: off, {lists}");
    let server = setup.start();
    eventually("anchors are counted", || metric(&server, "anchor", "corp CN=Corp CA").is_some());
    let text = String::from_utf8(server.admin("/metrics").body).unwrap();
    assert!(!text.contains("kind=\"crl\""), "nobody asks: {text}");
}

#[test]
fn check_warns_of_what_ends_soon_where_somebody_would_change_it() {
    let web = Web::http();
    let (setup, edge) = setup(&web);
    setup.config();
    let checked = json(0, setup.directory.path(), &["check"]);
    let [problem] = &checked["problems"].as_array().unwrap()[..] else { panic!("{checked:#}") };
    assert_eq!(problem["severity"], "warning");
    assert!(problem["file"].as_str().unwrap().ends_with("clients.d/edge.yaml"), "{problem:#}");
    let what = problem["what"].as_str().unwrap();
    assert!(what.contains(&edge.thumbprint()) && what.contains("edge-team@example.com"), "{what}");
}
