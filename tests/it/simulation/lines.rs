//! What the log says of requests (I6), heard by the thread that drives the server.

use std::cell::RefCell;
use std::fmt::Debug;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, Interest};
use tracing::{Event, Metadata, Subscriber};

/// One line of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    pub(super) status: u64,
    pub(super) client_id: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) reference: Option<String>,
    pub(super) cause: Option<String>,
}

thread_local! {
    static HEARD: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Hears what is logged on this thread, as long as it is kept.
pub(super) fn hear() -> DefaultGuard {
    tracing::subscriber::set_default(Ear)
}

pub(super) fn clear() {
    HEARD.with_borrow_mut(Vec::clear);
}

pub(super) fn take() -> Vec<Line> {
    HEARD.with_borrow_mut(std::mem::take)
}

struct Ear;

/// The lines of requests and no others.
fn is_of_a_request(metadata: &Metadata<'_>) -> bool {
    metadata.is_event() && metadata.fields().field("duration_us").is_some()
}

impl Subscriber for Ear {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_of_a_request(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_of_a_request(metadata)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        HEARD.with_borrow_mut(|heard| heard.push(line));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Visit for Line {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "status" {
            self.status = value;
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let place = match field.name() {
            "client_id" => &mut self.client_id,
            "reason" => &mut self.reason,
            "ref" => &mut self.reference,
            "cause" => &mut self.cause,
            _ => return,
        };
        *place = Some(value.to_owned());
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}
