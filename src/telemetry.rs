//! What the operator sees: log lines on standard error and metrics.
//!
//! Lines go through a bounded queue to a writer thread of their own, so that a pipe that nobody reads cannot
//! hold a request; what does not fit is counted, not waited for.

use std::fmt;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::{EnvFilter, Layer};

use crate::clock::{Clock as _, SystemClock, Timestamp};

/// Lines that may wait for the writer; about 8 MiB of them.
const QUEUE: usize = 16_384;

/// How long lines gather before they are written together.
const GATHER: Duration = Duration::from_millis(10);

/// How many bytes are written at once.
const AT_ONCE: usize = 64 * 1024;

/// The longest value of a stranger that a line shows, in characters.
const LONGEST: usize = 128;

/// How lines look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// One flat JSON object per line.
    #[default]
    Json,
    /// For people; control characters, quotes, U+2028/2029 and bidirectional marks are escaped.
    Text,
}

static LEVEL: OnceLock<Handle<EnvFilter, tracing_subscriber::Registry>> = OnceLock::new();
static WRITER: OnceLock<SyncSender<Queued>> = OnceLock::new();
static LOST: AtomicU64 = AtomicU64::new(0);

/// Begins to log on standard error at `level` (`error`, `warn`, `info`, `debug`, `trace`).
pub fn start_logging(format: LogFormat, level: &str) {
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;

    let (filter, handle) = reload::Layer::new(filter(level));
    let queue = start_writer();
    let lines = Lines { format, queue: queue.clone() };
    // Where somebody else has set a subscriber (a test), theirs stays.
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        let _ = LEVEL.set(handle);
        let _ = WRITER.set(queue);
    }
}

/// Waits until the lines so far are written, but not for a pipe that nobody reads: the process is about to end.
pub fn finish() {
    let (waiter, written) = sync_channel(1);
    if WRITER.get().is_some_and(|queue| queue.try_send(Queued::Waiter(waiter)).is_ok()) {
        let _ = written.recv_timeout(Duration::from_secs(1));
    }
}

/// Changes the level of a log that has begun.
pub fn set_level(level: &str) {
    if let Some(handle) = LEVEL.get() {
        // The subscriber lives as long as the process, so there is always something to change.
        let _ = handle.reload(filter(level));
    }
}

/// Libraries speak up from `warn` on; actix tells every broken connection of every stranger at `error`.
fn filter(level: &str) -> EnvFilter {
    // sled tells its errors twice: in its own words, and to the store, which says what they mean and what to do.
    EnvFilter::new(format!("warn,actix_http=off,actix_server=warn,sled=off,certbound={level}"))
}

/// A value of a stranger, cut to what a line can bear.
pub fn cut(value: &str) -> &str {
    value.char_indices().nth(LONGEST).and_then(|(end, _)| value.get(..end)).unwrap_or(value)
}

/// Makes one line of one event and hands it to the writer.
struct Lines {
    format: LogFormat,
    queue: SyncSender<Queued>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = Line::of(self.format, SystemClock.now(), event);
        if self.queue.try_send(Queued::Line(line)).is_err() {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A line in the making; its message first, then the fields in the order in which they were written down.
struct Line {
    format: LogFormat,
    text: Vec<u8>,
}

impl Line {
    fn of(format: LogFormat, at: Timestamp, event: &Event<'_>) -> Vec<u8> {
        let level = event.metadata().level();
        let mut line = Self { format, text: Vec::with_capacity(512) };
        match format {
            LogFormat::Json => line.put(format_args!("{{\"timestamp\":\"{at}\",\"level\":\"{level}\"")),
            LogFormat::Text => line.put(format_args!("{at} {level:5}")),
        }
        event.record(&mut line);
        line.text.extend_from_slice(if format == LogFormat::Json { b"}\n" } else { b"\n" });
        line.text
    }

    fn put(&mut self, what: fmt::Arguments<'_>) {
        self.text.write_fmt(what).expect("memory takes what is written to it");
    }

    /// A value in quotes, where there are quotes.
    fn string(&mut self, name: &str, value: &str) {
        match (self.format, name) {
            (LogFormat::Json, _) => {
                self.put(format_args!(",\"{name}\":"));
                serde_json::to_writer(&mut self.text, value).expect("a string is always JSON");
            }
            (LogFormat::Text, MESSAGE) => self.put(format_args!(" {}", Escaped(value))),
            (LogFormat::Text, _) => self.put(format_args!(" {name}=\"{}\"", Escaped(value))),
        }
    }

    /// A value that is the same in both formats.
    fn number(&mut self, name: &str, value: impl fmt::Display) {
        match self.format {
            LogFormat::Json => self.put(format_args!(",\"{name}\":{value}")),
            LogFormat::Text => self.put(format_args!(" {name}={value}")),
        }
    }
}

/// What `tracing` calls the text of an event.
const MESSAGE: &str = "message";

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.string(field.name(), &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.string(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.number(field.name(), value);
    }
}

/// Text that cannot end its line, its quotes or the direction it is read in.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for character in self.0.chars() {
            let marks = matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}');
            match character {
                '"' | '\\' => write!(f, "\\{character}")?,
                _ if character.is_control() || marks => write!(f, "{}", character.escape_unicode())?,
                _ => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

/// Goes through the queue.
enum Queued {
    Line(Vec<u8>),
    /// Somebody who waits for the lines before; hears that it is dropped.
    Waiter(SyncSender<()>),
}

/// Starts the thread that writes what comes through the queue.
fn start_writer() -> SyncSender<Queued> {
    let (queue, waiting) = sync_channel(QUEUE);
    // Without the thread the queue fills up and lines are counted as lost; requests go on.
    let _ = std::thread::Builder::new().name("log".to_owned()).spawn(move || write_lines(&waiting));
    queue
}

/// Writes what waits, as much at once as there is, and then lets lines gather: a writer that waits for each
/// line must be woken by each request, which costs the request more than the line does.
fn write_lines(queue: &Receiver<Queued>) {
    // There is nowhere to say that standard error is gone.
    let write = |text: &[u8]| drop(io::stderr().lock().write_all(text));
    while let Ok(first) = queue.recv() {
        let (mut together, mut waiters) = (Vec::new(), Vec::new());
        for queued in std::iter::once(first).chain(queue.try_iter()) {
            match queued {
                Queued::Line(line) => together.extend_from_slice(&line),
                Queued::Waiter(waiter) => waiters.push(waiter),
            }
            if together.len() >= AT_ONCE {
                write(&together);
                together.clear();
            }
        }
        write(&together);
        drop(waiters);
        std::thread::sleep(GATHER);
    }
}

/// Labels of `certbound_tokens_issued_total`; as many values as there are registered clients.
#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
pub struct ClientLabel {
    /// A registered client.
    pub client_id: String,
}

/// Labels of `certbound_refused_total`.
#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
pub struct ReasonLabel {
    /// One of the closed set of reasons.
    pub reason: &'static str,
}

/// Labels of `certbound_revocation_unknown_total`.
#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
pub struct AnchorSetLabel {
    /// A configured anchor set.
    pub trust_anchors: String,
}

/// Labels of `certbound_request_seconds`.
#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
pub struct RequestLabels {
    /// A route, or `other`.
    pub path: &'static str,
    /// The HTTP status.
    pub status: u16,
}

/// Labels of `certbound_store_seconds`.
#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
pub struct OpLabel {
    /// The operation.
    pub op: &'static str,
}

/// Labels of `certbound_certificate_expiry_seconds`.
#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
pub struct CertificateLabels {
    /// `pin`, `anchor` or `server`.
    pub kind: &'static str,
    /// Whose.
    pub name: String,
}

/// Labels of `certbound_config_info`.
#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
pub struct HashLabel {
    /// The hash of clients and policies in force, as `/readyz` says it.
    pub hash: String,
}

/// Every metric of the server. A registry of its own, so that two servers in one process do not mix.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Tokens that left, by client.
    pub tokens_issued: Family<ClientLabel, Counter>,
    /// Refusals, by reason.
    pub refused: Family<ReasonLabel, Counter>,
    /// Clients let in though nobody could say whether their certificate was revoked, by anchor set.
    pub revocation_unknown: Family<AnchorSetLabel, Counter>,
    /// How long requests took, by route and status.
    pub request_seconds: Family<RequestLabels, Histogram, fn() -> Histogram>,
    /// Seconds to the end of a certificate, negative after it.
    pub certificate_expiry_seconds: Family<CertificateLabels, Gauge>,
    /// Clients in force.
    pub clients: Gauge,
    /// Client files whose last reading had a problem.
    pub clients_broken_files: Gauge,
    /// Certificate headers that came where no proxy may speak.
    pub headers_dropped: Counter,
    /// How long store operations took.
    pub store_seconds: Family<OpLabel, Histogram, fn() -> Histogram>,
    /// Live nodes on the same database, this one included; 1 without one.
    pub nodes: Gauge,
    /// How far the wall clock is ahead of the database's.
    pub clock_skew_seconds: Gauge<f64, AtomicU64>,
    config_info: Family<HashLabel, Gauge>,
    log_lost: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at nought.
    pub fn new() -> Self {
        let seconds: fn() -> Histogram =
            || Histogram::new([0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0]);
        let mut metrics = Self {
            registry: Registry::with_prefix("certbound"),
            tokens_issued: Family::default(),
            refused: Family::default(),
            revocation_unknown: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            certificate_expiry_seconds: Family::default(),
            clients: Gauge::default(),
            clients_broken_files: Gauge::default(),
            headers_dropped: Counter::default(),
            store_seconds: Family::new_with_constructor(seconds),
            nodes: Gauge::default(),
            clock_skew_seconds: Gauge::default(),
            config_info: Family::default(),
            log_lost: Gauge::default(),
        };
        metrics.nodes.set(1);
        let registry = &mut metrics.registry;
        registry.register("tokens_issued", "Tokens issued", metrics.tokens_issued.clone());
        registry.register("refused", "Client authentications refused", metrics.refused.clone());
        let unknown = metrics.revocation_unknown.clone();
        registry.register("revocation_unknown", "Clients let in with an unknown revocation status", unknown);
        registry.register("request_seconds", "Duration of requests", metrics.request_seconds.clone());
        let expiry = metrics.certificate_expiry_seconds.clone();
        registry.register("certificate_expiry_seconds", "Seconds to the end of a certificate", expiry);
        registry.register("clients", "Clients in force", metrics.clients.clone());
        let broken = metrics.clients_broken_files.clone();
        registry.register("clients_broken_files", "Client files with a problem", broken);
        let dropped = metrics.headers_dropped.clone();
        registry.register("headers_dropped", "Certificate headers dropped", dropped);
        registry.register("store_seconds", "Duration of store operations", metrics.store_seconds.clone());
        registry.register("nodes", "Live nodes on the same database", metrics.nodes.clone());
        let skew = metrics.clock_skew_seconds.clone();
        registry.register("clock_skew_seconds", "Wall clock less the clock of the database", skew);
        registry.register("config_info", "Clients and policies in force", metrics.config_info.clone());
        registry.register("log_lines_lost", "Log lines that did not fit the queue", metrics.log_lost.clone());
        metrics
    }

    /// Says which clients and policies are in force, in place of those before.
    pub fn set_config_hash(&self, hash: String) {
        let label = HashLabel { hash };
        if self.config_info.get(&label).is_none() {
            self.config_info.clear();
        }
        self.config_info.get_or_create(&label).set(1);
    }

    /// The text of `/metrics` (`OpenMetrics`).
    pub fn render(&self) -> Result<String, fmt::Error> {
        self.log_lost.set(i64::try_from(LOST.load(Ordering::Relaxed)).unwrap_or(i64::MAX));
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Shared by all who count.
    pub fn shared() -> Arc<Self> {
        Arc::new(Self::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written of one event that a stranger has a word in.
    fn line(format: LogFormat) -> String {
        use tracing_subscriber::layer::SubscriberExt as _;
        let (queue, lines) = sync_channel(1);
        let log = tracing_subscriber::registry().with(Lines { format, queue });
        tracing::subscriber::with_default(log, || {
            let absent: Option<&str> = None;
            tracing::warn!(status = 401, client_id = "a\"\n", absent, "x5t#S256" = %'x', "request {}", 1);
        });
        let Ok(Queued::Line(line)) = lines.try_recv() else { panic!("there is no line") };
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_line_is_the_time_the_level_the_message_and_the_fields() {
        let json = line(LogFormat::Json);
        let (at, rest) = json.split_once(",\"level\"").unwrap();
        assert_eq!(
            rest,
            ":\"WARN\",\"message\":\"request 1\",\"status\":401,\"client_id\":\"a\\\"\\n\",\"x5t#S256\":\"x\"}\n"
        );
        let at = at.strip_prefix("{\"timestamp\":\"").and_then(|at| at.strip_suffix('"')).unwrap();
        assert!(Timestamp::parse_rfc3339(at).is_some(), "{at}");
        let text = line(LogFormat::Text);
        let (_, rest) = text.split_once(' ').unwrap();
        assert_eq!(rest, "WARN  request 1 status=401 client_id=\"a\\\"\\u{a}\" x5t#S256=\"x\"\n");
    }

    #[test]
    fn a_strangers_value_cannot_end_the_line_or_turn_it_round() {
        let shown = Escaped("a\"b\\\r\n\u{2028}\u{202e}é").to_string();
        assert_eq!(shown, "a\\\"b\\\\\\u{d}\\u{a}\\u{2028}\\u{202e}é");
    }

    #[test]
    fn a_value_is_cut_at_characters_not_bytes() {
        assert_eq!(cut(&"é".repeat(500)).chars().count(), LONGEST);
        assert_eq!(cut("short"), "short");
    }

    #[test]
    fn the_metrics_have_the_names_of_the_contract() {
        let metrics = Metrics::new();
        metrics.tokens_issued.get_or_create(&ClientLabel { client_id: "a".to_owned() }).inc();
        metrics.refused.get_or_create(&ReasonLabel { reason: "untrusted" }).inc();
        let text = metrics.render().unwrap();
        for line in [
            "certbound_tokens_issued_total{client_id=\"a\"} 1",
            "certbound_refused_total{reason=\"untrusted\"} 1",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(text.contains("certbound_headers_dropped_total 0"), "{text}");
    }
}
