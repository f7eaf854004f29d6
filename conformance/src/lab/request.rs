//! A request, put together and sent on a connection of its own.

use std::time::{Duration, Instant};

use url::Url;
use url::form_urlencoded::{Serializer, parse};

use super::{Answer, Lab};
use crate::check::Halt;
use crate::pki::Shown;
use crate::wire::{Connection, Tls};

/// A request to be sent. The methods change one thing each; [`Request::send`] gives the answer.
#[derive(Clone)]
pub struct Request<'lab> {
    lab: &'lab Lab,
    method: String,
    url: Result<Url, Halt>,
    headers: Vec<(String, String)>,
    body: Body,
    /// Form parameters that are there as long as nobody says anything else of them.
    defaults: Vec<(String, String)>,
    shown: Option<Shown>,
    tls: Tls,
}

impl Lab {
    /// Sends many requests one after the other on one connection, or as few as the server allows: the answers, and how long
    /// each took. Only the first three are in the evidence.
    #[must_use]
    pub fn in_a_row(&self, requests: &[Request<'_>]) -> Vec<(Answer, Duration)> {
        let unseen = self.unseen();
        let mut open = None;
        let mut answers = Vec::new();
        for (number, request) in requests.iter().enumerate() {
            let lab = if number < 3 { self } else { &unseen };
            answers.push(request.send_on(lab, &mut open));
        }
        answers
    }
}

/// What a request carries.
#[derive(Clone, Debug)]
pub enum Body {
    /// Nothing, and no length of it.
    None,
    /// A form, encoded as browsers do.
    Form(Vec<(String, String)>),
    /// These octets.
    Octets(Vec<u8>),
}

impl<'lab> Request<'lab> {
    pub(super) fn new(lab: &'lab Lab, method: &str, url: Result<Url, Halt>) -> Self {
        Self {
            lab,
            method: method.to_owned(),
            url,
            headers: Vec::new(),
            body: Body::None,
            defaults: Vec::new(),
            shown: None,
            tls: Tls::Modern,
        }
    }

    /// A form parameter for as long as the check adds none of this name.
    pub(super) fn by_default(mut self, name: &str, value: &str) -> Self {
        self.defaults.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a form parameter, beside one of the same name; in place of one that is there by default.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.defaults.retain(|(is, _)| is != name);
        if let Body::Form(fields) = &mut self.body {
            fields.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Takes a form parameter away.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.defaults.retain(|(is, _)| is != name);
        if let Body::Form(fields) = &mut self.body {
            fields.retain(|(is, _)| is != name);
        }
        self
    }

    /// Gives a form parameter this value in place of the one it has.
    #[must_use]
    pub fn set(self, name: &str, value: &str) -> Self {
        self.without(name).with(name, value)
    }

    /// Adds to the form what is encoded already, `scope=%C3%28` for instance.
    #[must_use]
    pub fn with_encoded(mut self, text: &str) -> Self {
        for (name, _) in parse(text.as_bytes()) {
            self.defaults.retain(|(is, _)| *is != name);
        }
        let body = self.form_text();
        let joined = if body.is_empty() { text.to_owned() } else { format!("{body}&{text}") };
        let request = self.with_body(Body::Octets(joined.into_bytes()));
        request.default_header("Content-Type", "application/x-www-form-urlencoded")
    }

    /// The form as it would be sent.
    #[must_use]
    pub fn form_text(&self) -> String {
        match &self.body {
            Body::None => String::new(),
            Body::Form(fields) => {
                Serializer::new(String::new()).extend_pairs(fields).extend_pairs(&self.defaults).finish()
            }
            Body::Octets(octets) => String::from_utf8_lossy(octets).into_owned(),
        }
    }

    /// Carries this body; octets have no Content-Type but the one that [`Request::header`] gives.
    #[must_use]
    pub fn with_body(mut self, body: Body) -> Self {
        self.body = body;
        self.defaults.clear();
        self
    }

    /// Adds a header line. A `Content-Type` replaces that of the form.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn default_header(self, name: &str, value: &str) -> Self {
        let there = self.headers.iter().any(|(is, _)| is.eq_ignore_ascii_case(name));
        if there { self } else { self.header(name, value) }
    }

    /// With another method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    /// To another URL.
    #[must_use]
    pub fn at(mut self, url: &Url) -> Self {
        self.url = Ok(url.clone());
        self
    }

    /// Shows this certificate.
    #[must_use]
    pub fn certificate(mut self, shown: &Shown) -> Self {
        self.shown = Some(shown.clone());
        self
    }

    /// Shows no certificate.
    #[must_use]
    pub fn no_certificate(mut self) -> Self {
        self.shown = None;
        self
    }

    /// Connects in another way.
    #[must_use]
    pub const fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// The octets of the request.
    #[must_use]
    pub fn octets(&self, url: &Url) -> Vec<u8> {
        let target =
            url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let host = url.host_str().unwrap_or_default();
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let mut head = format!("{} {target} HTTP/1.1\r\n", self.method);
        let mut line = |name: &str, value: &str| {
            head.extend([name, ": ", value, "\r\n"]);
        };
        let given = |name: &str| self.headers.iter().any(|(is, _)| is.eq_ignore_ascii_case(name));
        if !given("Host") {
            line("Host", &host);
        }
        let body = match &self.body {
            Body::None => Vec::new(),
            Body::Form(_) => self.form_text().into_bytes(),
            Body::Octets(octets) => octets.clone(),
        };
        if matches!(self.body, Body::Form(_)) && !given("Content-Type") {
            line("Content-Type", "application/x-www-form-urlencoded");
        }
        if !matches!(self.body, Body::None) && !given("Content-Length") && !given("Transfer-Encoding") {
            line("Content-Length", &body.len().to_string());
        }
        for (name, value) in &self.headers {
            line(name, value);
        }
        [head.as_bytes(), b"\r\n", &body].concat()
    }

    /// Sends it on a connection of its own. Whatever happens is the answer, and in the evidence.
    #[must_use]
    pub fn send(self) -> Answer {
        let url = match &self.url {
            Ok(url) => url.clone(),
            Err(halt) => return Answer::halted(halt.clone()),
        };
        match self.lab.connect(&url, self.shown.as_ref(), self.tls) {
            Ok(mut connection) => {
                self.lab.raw_answer(&mut connection, &self.octets(&url), self.method == "HEAD")
            }
            Err(failed) => Answer::of(None, failed.cause),
        }
    }

    /// Sends it on the connection that is open, or on a new one if there is none or it has ended.
    fn send_on(&self, lab: &Lab, open: &mut Option<Connection>) -> (Answer, Duration) {
        let url = match &self.url {
            Ok(url) => url,
            Err(halt) => return (Answer::halted(halt.clone()), Duration::ZERO),
        };
        let octets = self.octets(url);
        if let Some(mut connection) = open.take() {
            let began = Instant::now();
            let answer = lab.raw(&mut connection, &octets);
            if answer.response().is_some() {
                *open = Some(connection);
                return (answer, began.elapsed());
            }
        }
        let began = Instant::now();
        match lab.connect(url, self.shown.as_ref(), self.tls) {
            Ok(mut connection) => {
                let answer = lab.raw(&mut connection, &octets);
                *open = Some(connection);
                (answer, began.elapsed())
            }
            Err(failed) => (Answer::of(None, failed.cause), began.elapsed()),
        }
    }
}
