//! Revoked certificates are refused on the next request, and their tokens end; who may not be asked, is gone or has
//! nothing to say is treated as the policy of the anchor set has it (RFC 5280 §6.3, RFC 6960).

use std::fs;
use std::time::{Duration, Instant};

use certbound::pki::workshop::{Authority, Template};

use crate::support::crl::List;
use crate::support::pki::DAY;
use crate::support::responder::Responder;
use crate::support::server::eventually;
use crate::support::web::Web;
use crate::support::{Connection, Response, Server, Setup, Shown};

const MINUTE: Duration = Duration::from_secs(60);

/// What is configured for the lists and the responder of `corp`, and what else the file says.
fn setup(anchors: &str, more: &str) -> Setup {
    let mut setup = Setup::new().with_pinned_gateway();
    setup.client("orders", "tls_client_auth_san_dns: orders.example.com\nscope: read\n");
    anchors.clone_into(&mut setup.anchors);
    more.clone_into(&mut setup.more);
    setup
}

/// With a list of `corp` that has nobody on it.
fn with_list() -> Setup {
    let setup = setup(", crl: [{ file: corp.crl }]", "");
    put(&setup, &List::new(1, setup.pki.now));
    setup
}

fn put(setup: &Setup, list: &List) {
    // As people do it: a file beside it, and then its name.
    setup.write("corp.crl.new", list.signed_by(&setup.pki.corp));
    fs::rename(setup.path("corp.crl.new"), setup.path("corp.crl")).unwrap();
}

fn ask(connection: &mut Connection, client: &str) -> Response {
    let form = [("grant_type", "client_credentials"), ("client_id", client)];
    connection.post("/token", &form).unwrap()
}

fn metrics(server: &Server) -> String {
    String::from_utf8(server.admin("/metrics").body).unwrap()
}

fn refused(server: &Server, reason: &str) -> bool {
    metrics(server).contains(&format!("certbound_refused_total{{reason=\"{reason}\"}}"))
}

fn readyz(server: &Server) -> String {
    String::from_utf8(server.admin("/readyz").body).unwrap()
}

#[test]
fn a_revoked_certificate_is_refused_on_the_next_request_of_an_open_connection() {
    let server = with_list().start();
    let (billing, orders) =
        (server.setup.pki.client("billing.example.com"), server.setup.pki.client("orders.example.com"));
    let (mut theirs, mut others) = (server.connect(Some(&billing)), server.connect(Some(&orders)));
    let token = ask(&mut theirs, "billing").json()["access_token"].as_str().unwrap().to_owned();
    let other = ask(&mut others, "orders").json()["access_token"].as_str().unwrap().to_owned();
    assert!(server.is_active(&token) && server.is_active(&other));

    let began = Instant::now();
    put(&server.setup, &List::new(2, server.setup.pki.now).revoking(&billing.chain[0]));
    eventually("the revoked one is refused", || ask(&mut theirs, "billing").status == 400);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(ask(&mut theirs, "billing").error(), "invalid_client");
    assert!(refused(&server, "revoked"));
    assert!(!server.is_active(&token), "and its token has ended");

    assert_eq!(ask(&mut others, "orders").status, 200, "nobody else of this CA is harmed");
    assert!(server.is_active(&other));
    let again = server.setup.pki.client("billing.example.com");
    assert_eq!(server.token("billing", Some(&again)).status, 200, "and a new certificate is as good as ever");
}

#[test]
fn the_tokens_of_a_revoked_certificate_have_ended_after_a_restart_too() {
    let server = with_list().start();
    let billing = server.setup.pki.client("billing.example.com");
    let token = server.good_token("billing", &billing);
    let setup = server.stop();
    put(&setup, &List::new(2, setup.pki.now).revoking(&billing.chain[0]));
    let server = setup.start();
    assert!(!server.is_active(&token), "the certificate behind it was written down before it left");
    assert_eq!(server.token("billing", Some(&billing)).status, 400);
}

#[test]
fn a_list_speaks_for_the_certificates_of_its_own_issuer_alone() {
    let setup = setup(", crl: [{ file: corp.crl }, { file: partner.crl }]", "");
    let now = setup.pki.now;
    // Of the same name, and in the same set.
    let partner = Authority::new(&Template::new("Corp CA", now.minus(DAY), now.plus(DAY * 365))).unwrap();
    let template = Template { dns: vec!["billing.example.com".to_owned()], ..setup.pki.template("b") };
    let billing = Shown::from(&partner.issue(&template).unwrap());
    let anchors =
        [setup.pki.corp.identity().certificate_pem(), partner.identity().certificate_pem()].concat();
    setup.write("corp.pem", anchors);
    setup.write("partner.crl", List::new(1, now).signed_by(&partner));
    // The number that the other CA has given to somebody else.
    put(&setup, &List::new(1, now).revoking(&billing.chain[0]));
    let server = setup.start();
    assert_eq!(server.token("billing", Some(&billing)).status, 200);
    server.setup.write("partner.crl", List::new(2, now).revoking(&billing.chain[0]).signed_by(&partner));
    assert_eq!(server.reload(), Vec::<String>::new());
    assert_eq!(server.token("billing", Some(&billing)).error(), "invalid_client");
}

#[test]
fn a_revoked_intermediate_ends_everything_below_it() {
    let setup = setup(", crl: [{ file: corp.crl }, { file: issuing.crl }]", "");
    let now = setup.pki.now;
    let issuing = setup.pki.corp.intermediate(&Template::new("Issuing", now.minus(DAY), now.plus(DAY * 365)));
    let issuing = issuing.unwrap();
    let template = Template { dns: vec!["billing.example.com".to_owned()], ..setup.pki.template("b") };
    let leaf = Shown::from(&issuing.issue(&template).unwrap());
    let billing = leaf.with(&[issuing.identity().certificate_der()]);
    put(&setup, &List::new(1, now));
    setup.write("issuing.crl", List::new(1, now).signed_by(&issuing));
    let server = setup.start();
    let mut connection = server.connect(Some(&billing));
    let token = ask(&mut connection, "billing").json()["access_token"].as_str().unwrap().to_owned();
    assert!(server.is_active(&token));
    put(&server.setup, &List::new(2, now).revoking(issuing.identity().certificate_der()));
    assert_eq!(server.reload(), Vec::<String>::new());
    assert_eq!(ask(&mut connection, "billing").error(), "invalid_client");
    assert!(!server.is_active(&token));
}

#[test]
fn a_list_that_has_run_out_closes_the_door_or_is_told_as_the_set_requires() {
    for (policy, status) in [("require", 400), ("prefer", 200)] {
        let anchors = format!(", revocation: {policy}, crl: [{{ file: corp.crl }}]");
        let setup = setup(&anchors, "");
        put(&setup, &List::new(1, setup.pki.now).until(setup.pki.now.plus(MINUTE)));
        let server = setup.start();
        let billing = server.setup.pki.client("billing.example.com");
        let mut connection = server.connect(Some(&billing));
        let token = ask(&mut connection, "billing").json()["access_token"].as_str().unwrap().to_owned();
        server.setup.clock.advance(MINUTE);
        assert_eq!(ask(&mut connection, "billing").status, 200, "{policy}: the last second counts");
        server.setup.clock.advance(Duration::from_secs(1));
        assert_eq!(ask(&mut connection, "billing").status, status, "{policy}");
        assert!(server.is_active(&token), "{policy}: not to know ends no token");
        eventually("it is told, with its file", || {
            let ready = server.admin("/readyz").json();
            ready["status"] == "degraded"
                && ready["problems"].as_array().unwrap().iter().any(|problem| {
                    problem["what"].as_str().unwrap().contains("out of date")
                        && problem["file"].as_str().unwrap().ends_with("/corp.crl")
                })
        });
        let unknown = metrics(&server).contains("revocation_unknown_total{trust_anchors=\"corp\"} 1");
        assert_eq!((unknown, refused(&server, "revocation_unknown")), (status == 200, status == 400));

        put(&server.setup, &List::new(2, server.setup.pki.now));
        assert_eq!(server.reload(), Vec::<String>::new());
        assert_eq!(ask(&mut connection, "billing").status, 200, "{policy}");
        eventually("it is mended", || readyz(&server).contains("\"ready\""));
    }
}

#[test]
fn a_list_that_is_gone_broken_or_older_leaves_the_one_in_force() {
    let server = with_list().start();
    let (billing, orders) =
        (server.setup.pki.client("billing.example.com"), server.setup.pki.client("orders.example.com"));
    let good = List::new(7, server.setup.pki.now).revoking(&billing.chain[0]);
    put(&server.setup, &good);
    assert_eq!(server.reload(), Vec::<String>::new());
    let stranger = Authority::new(&server.setup.pki.template("Corp CA")).unwrap();
    let whole = good.signed_by(&server.setup.pki.corp);
    let bad: [(&str, Option<Vec<u8>>); 7] = [
        ("missing", None),
        ("empty", Some(Vec::new())),
        ("a page of HTML", Some(b"<html><body>502 Bad Gateway</body></html>".to_vec())),
        ("cut off", Some(whole[..whole.len() / 2].to_vec())),
        ("older", Some(List::new(6, server.setup.pki.now).signed_by(&server.setup.pki.corp))),
        ("of a namesake", Some(List::new(8, server.setup.pki.now).signed_by(&stranger))),
        ("a directory", None),
    ];
    for (what, bytes) in bad {
        let _ = fs::remove_file(server.setup.path("corp.crl"));
        match bytes {
            Some(bytes) => server.setup.write("corp.crl", bytes),
            None if what == "a directory" => fs::create_dir(server.setup.path("corp.crl")).unwrap(),
            None => {}
        }
        let problems = server.reload();
        assert_eq!(problems.len(), 1, "{what}: {problems:?}");
        assert!(problems[0].contains("corp.crl"), "{what}: {problems:?}");
        assert_eq!(server.token("billing", Some(&billing)).status, 400, "{what}: who was revoked stays so");
        assert_eq!(server.token("orders", Some(&orders)).status, 200, "{what}: and nobody else is");
        assert!(readyz(&server).contains("degraded"), "{what}");
    }
    server.setup.clock.advance(DAY * 8);
    assert_eq!(server.token("orders", Some(&orders)).status, 400, "until it runs out");
}

/// Gives the anchor set of a running server another name in its configuration.
fn rename_set(server: &Server, from: &str, to: &str) {
    let config = fs::read_to_string(server.setup.path("certbound.yaml")).unwrap();
    let renamed = config.replace(&format!("  {from}: {{ file:"), &format!("  {to}: {{ file:"));
    assert_ne!(config, renamed);
    server.setup.write("certbound.yaml", renamed);
}

/// `billing` and `orders`, naming this anchor set.
fn name_set(setup: &Setup, set: &str) {
    for client in ["billing", "orders"] {
        let fields = format!("tls_client_auth_san_dns: {client}.example.com\ntrust_anchors: {set}\n");
        setup.client(client, &fields);
    }
}

#[test]
fn a_set_that_stays_because_clients_name_it_keeps_its_lists() {
    let setup = with_list();
    name_set(&setup, "corp");
    let server = setup.start();
    let (billing, orders) =
        (server.setup.pki.client("billing.example.com"), server.setup.pki.client("orders.example.com"));
    rename_set(&server, "corp", "corp2");
    let problems = server.reload();
    let told = |problem: &String| problem.contains("`corp` ") && problem.contains("`billing`, `orders`");
    assert!(problems.iter().any(told), "{problems:?}");
    assert_eq!(server.token("billing", Some(&billing)).status, 200);

    put(&server.setup, &List::new(2, server.setup.pki.now).revoking(&billing.chain[0]));
    eventually("the new list is read", || server.token("billing", Some(&billing)).status == 400);
    assert_eq!(server.token("orders", Some(&orders)).status, 200);
    assert!(readyz(&server).contains("`corp` has been removed"), "as long as it is so");

    name_set(&server.setup, "corp2");
    eventually("the configuration takes effect", || readyz(&server).contains("\"ready\""));
    assert_eq!(server.token("billing", Some(&billing)).status, 400);
    assert_eq!(server.token("orders", Some(&orders)).status, 200);
    put(&server.setup, &List::new(3, server.setup.pki.now).revoking(&orders.chain[0]));
    eventually("and its list counts", || server.token("orders", Some(&orders)).status == 400);
}

#[test]
fn a_set_that_stays_because_the_next_cannot_be_read_keeps_its_lists() {
    let server = with_list().start();
    let billing = server.setup.pki.client("billing.example.com");
    let config = fs::read_to_string(server.setup.path("certbound.yaml")).unwrap();
    let next = config.replace("file: corp.pem", "file: next.pem").replace("corp.crl", "next.crl");
    server.setup.write("certbound.yaml", next);
    assert!(!server.reload().is_empty(), "there is no next.pem");
    put(&server.setup, &List::new(2, server.setup.pki.now).revoking(&billing.chain[0]));
    eventually("the list in force is read", || server.token("billing", Some(&billing)).status == 400);

    server.setup.write("next.crl", List::new(3, server.setup.pki.now).signed_by(&server.setup.pki.corp));
    server.setup.write("next.pem", server.setup.pki.corp.identity().certificate_pem());
    eventually("the next set is in force", || server.token("billing", Some(&billing)).status == 200);
}

#[test]
fn a_set_that_stays_because_clients_name_it_goes_on_fetching() {
    let web = Web::http();
    let anchors = format!(", crl: [{{ url: \"{}\" }}]", web.url("/corp.crl"));
    let setup = setup(&anchors, "outgoing: { allow: [127.0.0.0/8, \"::1\"] }\n");
    name_set(&setup, "corp");
    let now = setup.pki.now;
    web.put("/corp.crl", List::new(1, now).signed_by(&setup.pki.corp));
    let server = setup.start();
    let (billing, orders) =
        (server.setup.pki.client("billing.example.com"), server.setup.pki.client("orders.example.com"));
    eventually("it is fetched", || server.token("billing", Some(&billing)).status == 200);
    let kept = || fs::read_dir(server.setup.path("fetched/crl")).map_or(0, Iterator::count);
    eventually("it is kept", || kept() > 0);
    let files = kept();
    rename_set(&server, "corp", "corp2");
    assert!(!server.reload().is_empty());
    web.put("/corp.crl", List::new(2, now).revoking(&billing.chain[0]).signed_by(&server.setup.pki.corp));
    eventually("the next one is fetched", || {
        server.setup.clock.advance(MINUTE * 10);
        server.token("billing", Some(&billing)).status == 400
    });
    assert_eq!(server.token("orders", Some(&orders)).status, 200);
    assert_eq!(kept(), files, "and what was kept of it is kept");
}

#[test]
fn a_start_needs_the_lists_that_are_files() {
    let setup = with_list();
    let list = List::new(1, setup.pki.now);
    let mut forged = list.signed_by(&setup.pki.corp);
    *forged.last_mut().unwrap() ^= 1;
    for (what, bytes) in
        [("missing", None), ("no list", Some(b"hello".to_vec())), ("a forgery", Some(forged))]
    {
        fs::remove_file(setup.path("corp.crl")).unwrap();
        if let Some(bytes) = &bytes {
            setup.write("corp.crl", bytes);
        }
        let problems = certbound::world::World::check(&setup.config(), setup.pki.now);
        assert!(problems.has_errors(), "{what}");
        assert!(problems.0.iter().any(|problem| problem.what.contains("corp.crl")), "{what}: {problems:?}");
        setup.write("corp.crl", list.signed_by(&setup.pki.corp));
    }
    // A date is no error (contract ruling 16).
    put(&setup, &List::new(1, setup.pki.now).until(setup.pki.now.minus(MINUTE)));
    let problems = certbound::world::World::check(&setup.config(), setup.pki.now);
    assert!(!problems.has_errors() && !problems.0.is_empty(), "{problems:?}");
    let server = setup.start();
    assert!(readyz(&server).contains("degraded"));
    let billing = server.setup.pki.client("billing.example.com");
    assert_eq!(server.token("billing", Some(&billing)).status, 400);
}

#[test]
fn a_list_by_url_is_fetched_ahead_kept_and_used_without_its_server() {
    let mut web = Web::http();
    let anchors = format!(", crl: [{{ url: \"{}\" }}]", web.url("/corp.crl"));
    let setup = setup(&anchors, "outgoing: { allow: [127.0.0.0/8, \"::1\"] }\n");
    let now = setup.pki.now;
    let server = setup.start();
    let (billing, orders) =
        (server.setup.pki.client("billing.example.com"), server.setup.pki.client("orders.example.com"));
    eventually("it was asked for", || web.asked("/corp.crl") > 0);
    assert_eq!(server.token("billing", Some(&billing)).status, 400, "not to know is not good");
    eventually("it is told", || readyz(&server).contains("degraded"));
    let token = |server: &Server, client: &str, shown: &Shown| server.token(client, Some(shown)).status;

    web.put("/corp.crl", List::new(1, now).signed_by(&server.setup.pki.corp));
    eventually("it is fetched", || {
        server.setup.clock.advance(MINUTE);
        token(&server, "billing", &billing) == 200
    });
    eventually("all is well", || readyz(&server).contains("\"ready\""));
    web.put("/corp.crl", List::new(2, now).revoking(&billing.chain[0]).signed_by(&server.setup.pki.corp));
    eventually("the next one is fetched", || {
        server.setup.clock.advance(MINUTE * 10);
        token(&server, "billing", &billing) == 400
    });
    assert_eq!(token(&server, "orders", &orders), 200);

    web.stop();
    let server = server.stop().start();
    assert_eq!(token(&server, "orders", &orders), 200, "from the disk, at once");
    assert_eq!(token(&server, "billing", &billing), 400);
    server.setup.clock.advance(DAY * 8);
    assert_eq!(token(&server, "orders", &orders), 400, "until it runs out");
    eventually("it is told", || readyz(&server).contains("corp.crl"));
}

#[test]
fn a_responder_is_asked_and_believed() {
    for (policy, down) in [("require", 400), ("prefer", 200)] {
        let pki_first = Setup::new();
        let mut responder = Responder::start(pki_first.pki.corp.identity());
        let mut setup = setup(
            &format!(", revocation: {policy}, ocsp: {{ url: \"{}\" }}", responder.url()),
            "outgoing: { allow: [127.0.0.0/8] }\n",
        );
        setup.pki.corp = pki_first.pki.corp.clone();
        setup.write("corp.pem", setup.pki.corp.identity().certificate_pem());
        let issue = |dns: &str| {
            let template = Template { dns: vec![dns.to_owned()], ..setup.pki.template(dns) };
            Shown::from(&setup.pki.corp.issue(&template).unwrap())
        };
        let [good, revoked, unheard, late] = ["billing.example.com"; 4].map(issue);
        responder.know(&good.chain[0]);
        responder.revoke(&revoked.chain[0], "keyCompromise");
        let server = setup.start();
        let token = |shown: &Shown| server.token("billing", Some(shown));
        assert_eq!(token(&good).status, 200, "{policy}");
        assert_eq!(token(&revoked).error(), "invalid_client", "{policy}");
        assert!(refused(&server, "revoked"), "{policy}");
        assert_eq!(token(&unheard).status, down, "{policy}: what the responder does not know is not known");
        responder.stop();
        let began = Instant::now();
        assert_eq!(token(&late).status, down, "{policy}: nobody answers");
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        assert_eq!(token(&good).status, 200, "{policy}: what was heard holds");
        let unknown = metrics(&server).contains("revocation_unknown_total{trust_anchors=\"corp\"}");
        assert_eq!((unknown, refused(&server, "revocation_unknown")), (down == 200, down == 400));
        eventually("it is told", || readyz(&server).contains(&responder.url()));
    }
}

#[test]
fn an_answer_is_renewed_before_a_request_needs_it() {
    let before = Setup::new();
    let shown = Shown::from(before.pki.corp.identity());
    let mut responder = Responder::start_as(&shown, before.pki.corp.identity(), &["-nmin", "5"]);
    let mut setup =
        setup(&format!(", ocsp: {{ url: \"{}\" }}", responder.url()), "outgoing: { allow: [127.0.0.0/8] }\n");
    setup.pki.corp = before.pki.corp;
    setup.write("corp.pem", setup.pki.corp.identity().certificate_pem());
    let billing = setup.pki.client("billing.example.com");
    responder.know(&billing.chain[0]);
    let server = setup.start();
    let token = server.good_token("billing", &billing);
    assert!(server.is_active(&token));
    responder.revoke(&billing.chain[0], "superseded");
    server.setup.clock.advance(MINUTE * 3);
    // Nobody authenticates: the answer is in use all the same, and its time is half gone.
    eventually("the token has ended", || !server.is_active(&token));
    assert_eq!(server.token("billing", Some(&billing)).status, 400);
    let server = server.stop().start();
    assert!(!server.is_active(&token), "and who has not been asked since the start is asked");
}

#[test]
fn a_list_of_a_hundred_thousand_costs_a_request_nothing() {
    let server = setup("", "").start();
    let without = measured(&server, || false);
    drop(server);

    let setup = with_list();
    let long = |number| List::new(number, setup.pki.now).and_others(100_000).signed_by(&setup.pki.corp);
    let lists: Vec<_> = (2..6).map(long).collect();
    setup.write("corp.crl", &lists[0]);
    let server = setup.start();
    let with = measured(&server, || false);
    let during = std::thread::scope(|scope| {
        let reloading = scope.spawn(|| {
            for list in &lists[1..] {
                server.setup.write("corp.crl", list);
                let began = Instant::now();
                assert_eq!(server.reload(), Vec::<String>::new());
                println!("a reload took {:?}", began.elapsed());
            }
        });
        measured(&server, || !reloading.is_finished())
    });
    println!(
        "/token, median and 99th percentile: without a list {without:?}, with 100,000 entries {with:?}, while \
              it is read again {during:?}"
    );
    let slack = Duration::from_millis(2);
    assert!(with.0 < without.0 * 2 + slack, "{with:?} and {without:?} without");
    assert!(during.0 < without.0 * 4 + slack, "{during:?} and {without:?} without");
}

/// Median and 99th percentile of requests on one connection: some hundred, and more as long as there is a reason.
fn measured(server: &Server, mut goes_on: impl FnMut() -> bool) -> (Duration, Duration) {
    let billing = server.setup.pki.client("billing.example.com");
    let mut connection = server.connect(Some(&billing));
    assert_eq!(ask(&mut connection, "billing").status, 200);
    let mut took = Vec::new();
    while took.len() < 300 || (goes_on() && took.len() < 100_000) {
        let began = Instant::now();
        assert_eq!(ask(&mut connection, "billing").status, 200);
        took.push(began.elapsed());
    }
    took.sort();
    (took[took.len() / 2], took[took.len() * 99 / 100])
}
