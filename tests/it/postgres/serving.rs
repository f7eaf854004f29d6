//! A server on a database: what its clients hear while the database is out, and how it starts.

use std::fs;

use crate::support::program::{Serving, complaint, json, printed};
use crate::support::server::eventually;
use crate::support::{Connection, Response, Setup, Shown};

use super::*;

/// A set-up whose store is a database.
struct Node {
    setup: Setup,
    billing: Shown,
    gateway: Shown,
}

impl Node {
    fn new(url: &str) -> Self {
        let mut setup = Setup::new();
        setup.more = "store: { postgres: { url: { file: url }, pool: 4 } }\n".to_owned();
        setup.write("url", url);
        setup.client("billing", "tls_client_auth_san_dns: billing.example.com\naccess_token_lifetime: 12h\n");
        setup.config();
        let (billing, gateway) =
            (setup.pki.client("billing.example.com"), setup.pki.client("gateway.example.com"));
        Self { setup, billing, gateway }
    }

    fn path(&self) -> &std::path::Path {
        self.setup.directory.path()
    }

    fn start(&self) -> Serving {
        Serving::start(self.path())
    }

    fn talk(&self, serving: &Serving) -> Talk {
        Talk {
            billing: serving.connect(&self.setup, &self.billing),
            gateway: serving.connect(&self.setup, &self.gateway),
        }
    }
}

struct Talk {
    billing: Connection,
    gateway: Connection,
}

impl Talk {
    fn token(&mut self) -> String {
        let form = [("grant_type", "client_credentials"), ("client_id", "billing")];
        let answer = self.billing.post("/token", &form).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    fn revoke(&mut self, token: &str) -> Response {
        self.billing.post("/revoke", &[("client_id", "billing"), ("token", token)]).unwrap()
    }

    fn introspect(&mut self, token: &str) -> Response {
        self.gateway.post("/introspect", &[("client_id", "gateway"), ("token", token)]).unwrap()
    }

    fn is_active(&mut self, token: &str) -> bool {
        let answer = self.introspect(token);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["active"].as_bool().unwrap()
    }

    /// Tokens are issued; everything that needs the store says 503, and when to come again, in time.
    fn is_degraded(&mut self, known: &str) {
        let new = self.token();
        for token in [known, new.as_str()] {
            for ask in [Self::introspect, Self::revoke] {
                let began = Instant::now();
                let answer = ask(self, token);
                assert_eq!((answer.status, answer.header("Retry-After")), (503, Some("5")), "{answer:?}");
                assert!(began.elapsed() < ANSWERS_WITHIN, "{:?}", began.elapsed());
            }
        }
    }

    fn recovers(&mut self, token: &str) -> Duration {
        let began = Instant::now();
        while self.introspect(token).status != 200 {
            assert!(began.elapsed() < RECOVERS_WITHIN);
        }
        began.elapsed()
    }
}

#[test]
fn while_the_database_is_out_tokens_are_issued_and_the_rest_is_503_until_it_is_back() {
    let server = Server::own();
    let node = Node::new(&server.fresh());
    let serving = node.start();
    let mut talk = node.talk(&serving);
    let (ended, living) = (talk.token(), talk.token());
    assert_eq!(talk.revoke(&ended).status, 200);
    for (what, out, back) in [
        ("killed", Server::kill as fn(&Server), Server::start as fn(&Server)),
        ("frozen", Server::stop, Server::cont),
        ("ended", Server::end, Server::start),
    ] {
        assert!(!talk.is_active(&ended) && talk.is_active(&living), "before it was {what}");
        out(&server);
        let began = Instant::now();
        talk.is_degraded(&living);
        println!("{what}: answers of a node without its database {:?}", began.elapsed() / 8);
        back(&server);
        println!("{what}: back after {:?}", talk.recovers(&living));
        assert!(!talk.is_active(&ended) && talk.is_active(&living), "after it was {what}");
        let another = talk.token();
        assert_eq!(talk.revoke(&another).status, 200);
        assert!(!talk.is_active(&another));
    }
    serving.stop();
}

#[test]
fn a_node_starts_without_its_database_and_finds_it_later() {
    let server = Server::own();
    let node = Node::new(&server.fresh());
    server.kill();
    let serving = node.start();
    let mut talk = node.talk(&serving);
    let token = talk.token();
    talk.is_degraded(&token);
    assert!(!node.setup.path("keys/store-id").exists());
    server.start();
    talk.recovers(&token);
    assert!(talk.is_active(&token));
    assert_eq!(talk.revoke(&token).status, 200);
    assert!(!talk.is_active(&token) && node.setup.path("keys/store-id").exists());
    let again = complaint(1, node.path(), &["serve"]);
    assert!(again.contains("control.lock is held by another process"), "{again}");
    serving.stop();
}

#[test]
fn a_revocation_on_one_node_holds_on_the_other_from_its_answer_on_and_after_both_were_killed() {
    let url = Server::shared().fresh();
    let nodes = [Node::new(&url), Node::new(&url)];
    // Both know each other's tokens: one set of keys and one issuer. Certificates are those of the first.
    let serving = nodes[0].start();
    let mut talk = nodes[0].talk(&serving);
    let token = talk.token();
    assert_eq!(talk.revoke(&token).status, 200);
    serving.kill();
    fs::create_dir_all(nodes[1].setup.path("keys")).unwrap();
    for file in ["corp.pem", "server.pem", "server.key"] {
        fs::copy(nodes[0].setup.path(file), nodes[1].setup.path(file)).unwrap();
    }
    for entry in fs::read_dir(nodes[0].setup.path("keys")).unwrap().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "pem") {
            fs::copy(entry.path(), nodes[1].setup.path("keys").join(entry.file_name())).unwrap();
        }
    }
    let (first, second) = (nodes[0].start(), Serving::start(nodes[1].path()));
    let mut here = nodes[0].talk(&first);
    let mut there = nodes[0].talk(&second);
    assert!(!here.is_active(&token) && !there.is_active(&token));
    for _ in 0..25 {
        let token = here.token();
        assert!(there.is_active(&token));
        assert_eq!(here.revoke(&token).status, 200);
        assert!(!there.is_active(&token));
    }
}

#[test]
fn a_database_with_another_store_ends_serve_with_three() {
    let node = Node::new(&Server::shared().fresh());
    node.start().stop();
    node.setup.write("url", Server::shared().fresh());
    for command in
        [&["serve"][..], &["store", "check"], &["store", "export"], &["revoke", "--client", "billing"]]
    {
        let said = complaint(3, node.path(), command);
        assert!(said.contains("the database is empty") && said.contains("init --forget"), "{said}");
    }
    Server::shared().sql(
        Server::database(&fs::read_to_string(node.setup.path("url")).unwrap()),
        "SELECT 1 FROM pg_namespace",
    );
    let other = Node::new(&fs::read_to_string(node.setup.path("url")).unwrap());
    other.start().stop();
    assert!(complaint(3, node.path(), &["serve"]).contains("names store"));
}

#[test]
fn the_commands_work_on_the_database_with_a_server_and_without_one() {
    let node = Node::new(&Server::shared().fresh());
    let said = complaint(1, node.path(), &["store", "check"]);
    assert!(said.contains("there is no store in the database yet"), "{said}");
    assert!(printed(0, node.path(), &["client", "list"]).contains("billing"));
    let serving = node.start();
    let mut talk = node.talk(&serving);
    let (one, two) = (talk.token(), talk.token());
    node.setup.write("token", &one);
    assert!(json(0, node.path(), &["revoke", "--token", "token"])["revoked"].as_bool().unwrap());
    assert!(!talk.is_active(&one) && talk.is_active(&two));
    let checked = json(0, node.path(), &["store", "check"]);
    assert_eq!((&checked["revoked_tokens"], &checked["clients"]), (&1.into(), &2.into()));
    let exported = printed(0, node.path(), &["store", "export"]);
    assert!(exported.starts_with("{\"store_id\":") && exported.contains("revoked_token"));
    // What comes after the answer lives.
    json(0, node.path(), &["revoke", "--client", "billing"]);
    let three = talk.token();
    assert!(!talk.is_active(&two) && talk.is_active(&three));
    let held = complaint(1, node.path(), &["store", "init", "--forget"]);
    assert!(held.contains("a server is running"), "{held}");
    serving.stop();

    let counted = json(0, node.path(), &["store", "check"]);
    assert_eq!((&counted["revoked_clients"], &counted["id"]), (&1.into(), &checked["id"]));
    node.setup.write("export", printed(0, node.path(), &["store", "export"]));
    json(0, node.path(), &["revoke", "--client", "billing"]);
    let serving = node.start();
    let mut talk = node.talk(&serving);
    assert!(!talk.is_active(&three));
    let four = talk.token();
    assert!(talk.is_active(&four));
    serving.stop();

    // Moved to another database.
    node.setup.write("url", Server::shared().fresh());
    assert!(json(0, node.path(), &["store", "import", "export"])["entries"].as_u64().unwrap() > 3);
    assert_eq!(json(0, node.path(), &["store", "check"]), counted);
    let twice = complaint(1, node.path(), &["store", "import", "export"]);
    assert!(twice.contains("there is a store"), "{twice}");
    json(0, node.path(), &["store", "init", "--forget"]);
    let serving = node.start();
    let mut talk = node.talk(&serving);
    let five = talk.token();
    assert!(!talk.is_active(&four) && talk.is_active(&five));
    serving.stop();
}

#[test]
fn neither_problem_nor_log_shows_the_password() {
    let node = Node::new("postgres://node:hunter2@127.0.0.1:1/certbound");
    let said = printed(0, node.path(), &["check"]);
    assert!(!said.contains("hunter2"), "{said}");
    for command in
        [&["store", "check"][..], &["store", "init", "--forget"], &["revoke", "--client", "billing"]]
    {
        let said = complaint(1, node.path(), command);
        assert!(!said.contains("hunter2") && said.contains("refused"), "{said}");
    }
    for url in ["postgres://node:hunter2@db.example.com/d?sslmode=allow", "hunter2"] {
        node.setup.write("url", url);
        for command in [&["serve"][..], &["store", "check"]] {
            let said = complaint(1, node.path(), command);
            assert!(!said.contains("hunter2") && said.contains("certbound.yaml"), "{said}");
        }
        assert!(!printed(1, node.path(), &["check"]).contains("hunter2"));
    }
    let text = fs::read_to_string(node.setup.path("certbound.yaml")).unwrap();
    node.setup.write("certbound.yaml", text.replace("{ file: url }", "{ env: CERTBOUND_NO_SUCH_VARIABLE }"));
    assert!(printed(1, node.path(), &["check"]).contains("CERTBOUND_NO_SUCH_VARIABLE is not set"));
}

#[test]
fn a_megabyte_is_no_token_and_reaches_no_database() {
    let node = Node::new(&Server::shared().fresh());
    let serving = node.start();
    let long = format!("{}'; DROP TABLE certbound.store; --\0", "x".repeat(1 << 20));
    for path in ["/introspect", "/revoke"] {
        let mut talk = node.talk(&serving);
        let connection = if path == "/revoke" { &mut talk.billing } else { &mut talk.gateway };
        let client = if path == "/revoke" { "billing" } else { "gateway" };
        // The server need not read all of it.
        if let Ok(answer) = connection.post(path, &[("client_id", client), ("token", &long)]) {
            assert_eq!(answer.status, 413, "{answer:?}");
        }
        let mut talk = node.talk(&serving);
        // NUL is no character of a form (RFC 6749 appendix B).
        for (odd, status) in [("'; DROP TABLE certbound.store; --", 200), ("a\0", 400)] {
            let answer = if path == "/revoke" { talk.revoke(odd) } else { talk.introspect(odd) };
            assert_eq!(answer.status, status, "{answer:?}");
        }
    }
    let mut talk = node.talk(&serving);
    let token = talk.token();
    eventually("the store works", || talk.is_active(&token));
    serving.stop();
}
