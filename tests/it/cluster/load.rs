//! Clients that ask all nodes, through the load balancer and directly, over mutual TLS, and write down what they heard.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle, sleep};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use certbound::clock::{Clock as _, SystemClock};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;

use super::history::{Call, Moment, Name, Operation, Outcome, Token, Via};
use super::nodes::{CLIENTS, Cluster, Control, NODES};
use crate::support::{Connection, Response, Shown};

/// Everything that those who ask have in common.
pub(super) struct Stage {
    epoch: Instant,
    /// Unix time of the epoch, by the machine's clock, which no test sets.
    pub(super) began: f64,
    nodes: Vec<SocketAddr>,
    balancer: Option<SocketAddr>,
    root: Vec<u8>,
    clients: Vec<(Name, Shown)>,
    gateway: Shown,
    tokens: Mutex<Pool>,
    keys: Mutex<HashMap<Name, Jwk>>,
    /// Nodes that stand still: whoever has another one to ask does.
    frozen: [AtomicBool; NODES],
    over: AtomicBool,
}

/// What anybody may introspect.
#[derive(Default)]
struct Pool {
    living: VecDeque<Held>,
    ended: VecDeque<Held>,
}

#[derive(Clone)]
struct Held {
    jti: Name,
    text: Name,
}

/// As whom a connection is made.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
enum Role {
    Client(usize),
    Gateway,
    Nobody,
}

impl Stage {
    pub(super) fn new(cluster: &Cluster, balancer: Option<SocketAddr>) -> Self {
        let since_1970 = Duration::from_millis(SystemClock.now_millis().unsigned_abs());
        let shown = |client: &str| cluster.pki.client(&format!("{client}.example.com"));
        Self {
            epoch: Instant::now(),
            began: since_1970.as_secs_f64(),
            nodes: cluster.nodes.iter().map(|node| node.address).collect(),
            balancer,
            root: cluster.pki.server_ca.identity().certificate_der().to_vec(),
            clients: CLIENTS.into_iter().map(|client| (client.into(), shown(client))).collect(),
            gateway: shown("gateway"),
            tokens: Mutex::default(),
            keys: Mutex::default(),
            frozen: [const { AtomicBool::new(false) }; NODES],
            over: AtomicBool::new(false),
        }
    }

    pub(super) fn now(&self) -> Moment {
        self.epoch.elapsed()
    }

    /// Those who ask end after the answer that they wait for.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    pub(super) fn set_frozen(&self, node: usize, frozen: bool) {
        self.frozen[node].store(frozen, Ordering::Relaxed);
    }

    fn is_frozen(&self, node: usize) -> bool {
        self.frozen[node].load(Ordering::Relaxed)
    }
}

/// Somebody who asks one thing after the other.
pub(super) struct Worker<'s> {
    stage: &'s Stage,
    number: usize,
    connections: HashMap<(Option<usize>, Role), Connection>,
    own: VecDeque<Held>,
    pub(super) operations: Vec<Operation>,
    chance: Chance,
}

impl<'s> Worker<'s> {
    pub(super) fn new(stage: &'s Stage, number: usize) -> Self {
        let (connections, own, operations) = (HashMap::new(), VecDeque::new(), Vec::new());
        // The same on every run; what differs is how the answers interleave.
        let chance = Chance(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number as u64 + 1));
        Self { stage, number, connections, own, operations, chance }
    }

    /// Gets tokens, ends some, and asks about its own and everybody's, until the end.
    pub(super) fn work(mut self, client: usize, home: Via, pause: Duration) -> Vec<Operation> {
        while self.stage.goes_on() {
            let via = self.somewhere(home);
            if self.chance.below(10) == 0 {
                // Not everybody keeps connections.
                self.connections.clear();
            }
            match self.chance.below(10) {
                0..3 => drop(self.issue(via, client)),
                3 if self.own.len() > 4 => self.end_one(via, client),
                chance => {
                    if let Some(held) = self.any(chance < 7) {
                        self.introspect(via, &held);
                    }
                }
            }
            sleep(pause);
        }
        self.operations
    }

    /// The key set of one node, again and again.
    pub(super) fn read_keys(mut self, node: usize) -> Vec<Operation> {
        while self.stage.goes_on() {
            self.key_set(node);
            sleep(Duration::from_millis(50));
        }
        self.operations
    }

    /// Usually at home; those who have a node of their own look at the others now and then.
    fn somewhere(&mut self, home: Via) -> Via {
        let other = self.chance.below(NODES);
        match home {
            Via::Node(_) if self.chance.below(3) == 0 && !self.stage.is_frozen(other) => Via::Node(other),
            home => home,
        }
    }

    /// A token of the pool, rather a young one.
    fn any(&mut self, living: bool) -> Option<Held> {
        let pool = self.stage.tokens.lock().unwrap();
        let tokens = if living { &pool.living } else { &pool.ended };
        let young = if self.chance.below(2) == 0 { 4 } else { tokens.len() };
        let back = self.chance.below(young.clamp(1, tokens.len().max(1)));
        tokens.get(tokens.len().checked_sub(back + 1)?).cloned()
    }

    /// Ends a token, and asks every node about it at once.
    fn end_one(&mut self, via: Via, client: usize) {
        let oldest = self.own.len() / 2;
        let Some(held) = self.own.swap_remove_back(oldest) else { return };
        let mut pool = self.stage.tokens.lock().unwrap();
        pool.living.retain(|one| one.jti != held.jti);
        drop(pool);
        self.revoke(via, client, &held);
        for node in 0..NODES {
            if !self.stage.is_frozen(node) && via != Via::Balancer {
                self.introspect(Via::Node(node), &held);
            }
        }
        if via == Via::Balancer {
            self.introspect(via, &held);
        }
        let mut pool = self.stage.tokens.lock().unwrap();
        pool.ended.push_back(held);
        if pool.ended.len() > 2000 {
            pool.ended.pop_front();
        }
    }

    pub(super) fn issue(&mut self, via: Via, client: usize) -> Option<String> {
        let name = self.stage.clients[client].0.clone();
        let form = [("grant_type", "client_credentials"), ("client_id", &*name)];
        let call = Call::Issue { client: name.clone() };
        let mut issued = None;
        self.asked(
            via,
            Role::Client(client),
            call,
            |connection| connection.post("/token", &form),
            |stage, answer| {
                let text = answer.json()["access_token"].as_str().unwrap().to_owned();
                let token = read(&text);
                stage.verify(&text, &token);
                issued = Some((token.jti.clone(), text));
                Outcome::Issued(token)
            },
        );
        let (jti, text) = issued?;
        let held = Held { jti, text: text.as_str().into() };
        self.own.push_back(held.clone());
        if self.own.len() > 200 {
            self.own.pop_front();
        }
        let mut pool = self.stage.tokens.lock().unwrap();
        pool.living.push_back(held);
        if pool.living.len() > 400 {
            pool.living.pop_front();
        }
        Some(text)
    }

    fn introspect(&mut self, via: Via, held: &Held) -> Outcome {
        let form = [("client_id", "gateway"), ("token", &*held.text)];
        let call = Call::Introspect { token: held.jti.clone() };
        self.asked(
            via,
            Role::Gateway,
            call,
            |connection| connection.post("/introspect", &form),
            |_, answer| match answer.json()["active"] {
                Value::Bool(true) => Outcome::Active,
                _ => Outcome::Inactive,
            },
        )
    }

    /// What the gateway hears of a token.
    pub(super) fn standing(&mut self, via: Via, text: &str) -> Outcome {
        let held = Held { jti: read(text).jti, text: text.into() };
        self.introspect(via, &held)
    }

    fn revoke(&mut self, via: Via, client: usize, held: &Held) -> Outcome {
        let name = self.stage.clients[client].0.clone();
        let form = [("client_id", &*name), ("token", &*held.text)];
        let call = Call::Revoke { token: held.jti.clone() };
        self.asked(
            via,
            Role::Client(client),
            call,
            |connection| connection.post("/revoke", &form),
            |_, _| Outcome::Done,
        )
    }

    /// Ends a token of a client.
    pub(super) fn end_token(&mut self, via: Via, client: usize, text: &str) -> Outcome {
        let held = Held { jti: read(text).jti, text: text.into() };
        self.revoke(via, client, &held)
    }

    pub(super) fn key_set(&mut self, node: usize) {
        let get = |connection: &mut Connection| connection.get("/jwks");
        self.asked(Via::Node(node), Role::Nobody, Call::KeySet, get, |stage, answer| {
            let set: JwkSet = serde_json::from_slice(&answer.body).unwrap();
            let named = set.keys.into_iter().map(|key| (Name::from(key.common.key_id.clone().unwrap()), key));
            let named: Vec<_> = named.collect();
            let kids: BTreeSet<Name> = named.iter().map(|(kid, _)| kid.clone()).collect();
            stage.keys.lock().unwrap().extend(named);
            Outcome::Published(kids)
        });
    }

    /// An order of an operator, over the control socket of a node.
    pub(super) fn order(&mut self, node: usize, control: &Control, call: Call) -> Outcome {
        let (method, path, body) = match &call {
            Call::RevokeClient { client } => ("POST", format!("clients/{client}/revoke"), ""),
            Call::Rotate => ("POST", "keys/rotate".to_owned(), r#"{"now":true}"#),
            Call::RemoveKey { kid } => ("DELETE", format!("keys/{kid}"), ""),
            other => panic!("{other:?} is no order"),
        };
        let begin = self.stage.now();
        let answer = control.ask(method, &path, body);
        self.note(Via::Node(node), begin, call, answer, |_, _| Outcome::Done)
    }

    /// Asks on the connection that is kept for this, or on a new one.
    fn asked(
        &mut self,
        via: Via,
        role: Role,
        call: Call,
        ask: impl Fn(&mut Connection) -> io::Result<Response>,
        understood: impl FnOnce(&Stage, &Response) -> Outcome,
    ) -> Outcome {
        let place = (node_of(via), role);
        let begin = self.stage.now();
        let kept = self.connections.remove(&place);
        let answer = kept.map_or_else(|| self.connect(via, role), Ok).and_then(|mut connection| {
            let answer = ask(&mut connection)?;
            if answer.header("connection") != Some("close") {
                self.connections.insert(place, connection);
            }
            Ok(answer)
        });
        self.note(via, begin, call, answer, understood)
    }

    fn connect(&self, via: Via, role: Role) -> io::Result<Connection> {
        let stage = self.stage;
        let shown = match role {
            Role::Client(client) => Some(&stage.clients[client].1),
            Role::Gateway => Some(&stage.gateway),
            Role::Nobody => None,
        };
        let address = node_of(via).map_or_else(|| stage.balancer.unwrap(), |node| stage.nodes[node]);
        Connection::open(address, Connection::config(&stage.root, shown, None))
    }

    fn note(
        &mut self,
        via: Via,
        begin: Moment,
        call: Call,
        answer: io::Result<Response>,
        understood: impl FnOnce(&Stage, &Response) -> Outcome,
    ) -> Outcome {
        let end = self.stage.now();
        let outcome = match answer {
            Ok(answer) if (200..300).contains(&answer.status) => understood(self.stage, &answer),
            Ok(answer) => Outcome::Status(answer.status),
            Err(error) => Outcome::Lost(error.to_string()),
        };
        let operation = Operation { worker: self.number, via, begin, end, call, outcome: outcome.clone() };
        self.operations.push(operation);
        outcome
    }
}

impl Stage {
    /// By the key set, as a resource server does it. A key that nobody has published is found by the checker.
    fn verify(&self, text: &str, token: &Token) {
        let Some(key) = self.keys.lock().unwrap().get(&token.kid).cloned() else { return };
        let mut validation = Validation::new(Algorithm::ES256);
        (validation.validate_aud, validation.validate_exp) = (false, false);
        let verified =
            jsonwebtoken::decode::<Value>(text, &DecodingKey::from_jwk(&key).unwrap(), &validation);
        assert!(verified.is_ok(), "the published key does not verify: {verified:?}");
    }
}

/// Everybody at work: two through the load balancer, one at each node, one who ends all tokens of a client now and then,
/// and one for the key set of each node.
pub(super) fn everybody<'scope>(
    scope: &'scope Scope<'scope, '_>,
    stage: &'scope Stage,
    controls: Vec<Control>,
) -> Vec<ScopedJoinHandle<'scope, Vec<Operation>>> {
    let pause = Duration::from_millis(8);
    let mut at_work = Vec::new();
    for node in 0..NODES {
        // Before anybody has a token.
        let mut reader = Worker::new(stage, 10 + node);
        reader.key_set(node);
        at_work.push(scope.spawn(move || reader.read_keys(node)));
    }
    let places = [Via::Balancer, Via::Balancer, Via::Node(0), Via::Node(1), Via::Node(2)];
    // The client that is missing at times, and the one whose tokens are ended at times, are asked for everywhere too.
    for (number, (home, client)) in places.into_iter().zip([0, 1, 2, 3, 4]).enumerate() {
        let worker = Worker::new(stage, number);
        at_work.push(scope.spawn(move || worker.work(client, home, pause)));
    }
    at_work.push(scope.spawn(move || end_clients(Worker::new(stage, 20), &controls)));
    at_work
}

/// `revoke --client` at one node after the other.
fn end_clients(mut worker: Worker<'_>, controls: &[Control]) -> Vec<Operation> {
    let client: Name = "batch".into();
    for (node, control) in controls.iter().enumerate().cycle() {
        for _ in 0..15 {
            sleep(Duration::from_millis(100));
            if !worker.stage.goes_on() {
                return worker.operations;
            }
        }
        if !worker.stage.is_frozen(node) {
            worker.order(node, control, Call::RevokeClient { client: client.clone() });
        }
    }
    worker.operations
}

fn node_of(via: Via) -> Option<usize> {
    match via {
        Via::Node(node) => Some(node),
        Via::Balancer => None,
    }
}

/// What a token says, without looking at who signed it.
fn read(text: &str) -> Token {
    let mut parts = text.split('.').map(|part| {
        let bytes = URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
        serde_json::from_slice::<Value>(&bytes).unwrap_or_default()
    });
    let (header, claims) = (parts.next().unwrap(), parts.next().unwrap());
    let name = |of: &Value, field: &str| of[field].as_str().unwrap().into();
    Token {
        jti: name(&claims, "jti"),
        client: name(&claims, "client_id"),
        kid: name(&header, "kid"),
        issued_at: claims["iat"].as_i64().unwrap(),
    }
}

/// Numbers that look random (xorshift).
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}
