//! Registers clients, by RFC 7591 or by writing documents into a directory, and reads a refusal alike from both.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use url::Url;

use super::credentials::unique;
use super::{Body, Client, Document, Lab, Role};
use crate::check::{Halt, Outcome, fail, untestable};
use crate::config::{Directory, Dynamic, Registrar};
use crate::pki::Shown;
use crate::wire::Exchange;

/// What the registrar said of a document.
#[derive(Clone, Debug)]
pub enum Submission {
    /// It is registered, under this identifier; with the answer of RFC 7591 §3.2.1 where there is one.
    Accepted {
        /// `client_id`.
        client_id: String,
        /// The registered metadata as they were answered; `Null` from a directory.
        answer: Value,
    },
    /// It is refused, which is `invalid_client_metadata` if the document is at fault.
    Refused {
        /// The error code.
        error: String,
        /// All that was said.
        said: String,
    },
}

impl Lab {
    /// Registers a client that shows this certificate, and waits until the server knows it.
    ///
    /// # Errors
    /// `Fail` if the document is refused, `Untestable` without a registrar.
    pub fn register(&self, document: &Document, shown: &Shown) -> Result<Client, Halt> {
        match self.submit(document)? {
            Submission::Accepted { client_id, .. } => {
                let client = Client { id: client_id, shown: shown.clone() };
                self.settle(&client);
                Ok(client)
            }
            Submission::Refused { said, .. } => fail("the registration is accepted", said),
        }
    }

    /// Registers a client for which no certificate will ever be good, and waits as long as the server may take to know it.
    ///
    /// # Errors
    /// As [`Lab::register`].
    pub fn register_unproven(&self, document: &Document, shown: &Shown) -> Result<Client, Halt> {
        let Submission::Accepted { client_id, .. } = self.accepted(document)? else {
            return untestable("the registration came to nothing");
        };
        if let Some(directory) = self.directory() {
            sleep(Duration::from_secs(directory.settle));
        }
        Ok(Client { id: client_id, shown: shown.clone() })
    }

    /// The document has to be refused as `invalid_client_metadata`.
    ///
    /// # Errors
    /// `Fail` if it is accepted, `Untestable` without a registrar.
    pub fn expect_metadata_refused(&self, document: &Document) -> Outcome {
        match self.submit(document)? {
            Submission::Refused { error, .. } if error == "invalid_client_metadata" => Ok(()),
            Submission::Refused { said, .. } => fail("400 {\"error\":\"invalid_client_metadata\"}", said),
            Submission::Accepted { client_id, .. } => {
                fail("400 {\"error\":\"invalid_client_metadata\"}", format_args!("registered as {client_id}"))
            }
        }
    }

    /// The document has to be accepted.
    ///
    /// # Errors
    /// `Fail` if it is refused, `Untestable` without a registrar.
    pub fn accepted(&self, document: &Document) -> Result<Submission, Halt> {
        match self.submit(document)? {
            Submission::Refused { said, .. } => fail("the registration is accepted", said),
            accepted @ Submission::Accepted { .. } => Ok(accepted),
        }
    }

    /// Gives a document to the registrar, without waiting for anything.
    ///
    /// # Errors
    /// `Untestable` without a registrar, or if it does not work.
    pub fn submit(&self, document: &Document) -> Result<Submission, Halt> {
        let Some(registrar) = &self.target().config.registrar else {
            return untestable("the suite was given no registrar");
        };
        let mut more = registrar.members.all.clone();
        more.extend(match document.method() {
            "tls_client_auth" => registrar.members.tls_client_auth.clone(),
            "self_signed_tls_client_auth" => registrar.members.self_signed_tls_client_auth.clone(),
            _ => Map::new(),
        });
        match registrar {
            Registrar { rfc7591: Some(dynamic), .. } => self.post_registration(dynamic, document, &more),
            Registrar { directory: Some(directory), .. } => self.write_document(directory, document, more),
            _ => untestable("the suite was given no registrar"),
        }
    }

    /// The document as one of a client that is shut out.
    ///
    /// # Errors
    /// `Untestable` if the config does not say how one looks (`disabled`).
    pub fn disabled(&self, document: Document) -> Result<Document, Halt> {
        let members = self.target().config.registrar.as_ref().map(|registrar| &registrar.members.disabled);
        match members {
            Some(members) if !members.is_empty() => Ok(members
                .iter()
                .fold(document, |document, (name, value)| document.with(name, value.clone()))),
            _ => untestable("the suite was not told how a client is shut out (disabled)"),
        }
    }

    /// The document with what the config says of clients of this role.
    pub(super) fn for_role(&self, role: Role, document: Document) -> Document {
        let members = self.target().config.registrar.as_ref().map(|registrar| &registrar.members);
        let members = members.and_then(|members| match role {
            Role::Both => Some(&members.both),
            Role::ResourceServer => Some(&members.resource_server),
            Role::SecondResourceServer => Some(&members.second_resource_server),
            _ => None,
        });
        let members = members.into_iter().flatten();
        members.fold(document, |document, (name, value)| document.with(name, value.clone()))
    }

    /// Waits until the client is known, by asking for a token until the answer is not `invalid_client`. If that does not
    /// come, the check will see for itself.
    pub fn settle(&self, client: &Client) {
        let Some(directory) = self.directory() else { return };
        let end = Instant::now() + Duration::from_secs(directory.settle);
        let unseen = self.unseen();
        while Instant::now() < end {
            let answer = unseen.token(client).send();
            if answer.json().get("error").and_then(Value::as_str) != Some("invalid_client") {
                return;
            }
            sleep(Duration::from_millis(100));
        }
    }

    fn directory(&self) -> Option<&Directory> {
        self.target().config.registrar.as_ref()?.directory.as_ref()
    }

    fn post_registration(
        &self,
        dynamic: &Dynamic,
        document: &Document,
        more: &Map<String, Value>,
    ) -> Result<Submission, Halt> {
        let url = match &dynamic.registration_endpoint {
            Some(url) => Url::parse(url)
                .map_err(|error| Halt::Untestable(format!("registration_endpoint: {error}")))?,
            None => self.conventional("registration_endpoint")?,
        };
        let text = document.text_with(more);
        let request = self.post(&url).with_body(Body::Octets(text.into_bytes()));
        let mut request = request.header("Content-Type", "application/json");
        if let Some(token) = &dynamic.initial_access_token {
            request = request.header("Authorization", &format!("Bearer {token}"));
        }
        let answer = request.send();
        let object = answer.json();
        let word = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        match answer.expect_answer()?.status {
            200 | 201 if !word("client_id").is_empty() => {
                Ok(Submission::Accepted { client_id: word("client_id"), answer: object })
            }
            _ => Ok(Submission::Refused { error: word("error"), said: answer.seen() }),
        }
    }

    fn write_document(
        &self,
        directory: &Directory,
        document: &Document,
        mut more: Map<String, Value>,
    ) -> Result<Submission, Halt> {
        let given = document.members.get("client_id").and_then(Value::as_str);
        let client_id = given.map_or_else(unique, ToOwned::to_owned);
        if given.is_none() {
            more.insert("client_id".to_owned(), json!(client_id));
        }
        let text = document.text_with(&more);
        let (code, said) =
            judge(directory, &text).map_err(|error| Halt::Untestable(format!("registrar: {error}")))?;
        self.record(Exchange {
            with: format!("the registrar: {}", directory.check.join(" ")),
            sent: text.clone().into_bytes(),
            received: said.clone().into_bytes(),
            failure: (code != Some(0)).then(|| format!("exit code {code:?}")),
        });
        match code {
            Some(0) => {
                let name = unique();
                let aside = directory.path.join(format!(".{name}"));
                let written = fs::write(&aside, &text)
                    .and_then(|()| fs::rename(&aside, directory.path.join(format!("{name}.yaml"))));
                written.map_err(|error| Halt::Untestable(format!("registrar: {error}")))?;
                Ok(Submission::Accepted { client_id, answer: Value::Null })
            }
            Some(1) => Ok(Submission::Refused { error: "invalid_client_metadata".to_owned(), said }),
            _ => untestable(format_args!("the check command of the registrar ended with {code:?}: {said}")),
        }
    }
}

/// Runs the check command on a directory with this document alone: its exit code, and what it said.
fn judge(directory: &Directory, text: &str) -> std::io::Result<(Option<i32>, String)> {
    let candidate = tempfile::tempdir_in(directory.path.parent().unwrap_or(&directory.path))?;
    fs::write(candidate.path().join("candidate.yaml"), text)?;
    let documents = candidate.path().display().to_string();
    // Beside the template, so that its relative paths lead where they did.
    let config = match &directory.config {
        Some(template) => {
            let text = fs::read_to_string(template)?.replace("{directory}", &documents);
            let beside = template.parent().unwrap_or(template);
            let mut file = tempfile::Builder::new().suffix(".yaml").tempfile_in(beside)?;
            std::io::Write::write_all(&mut file, text.as_bytes())?;
            Some(file)
        }
        None => None,
    };
    let path = config.as_ref().map(|file| file.path().display().to_string()).unwrap_or_default();
    let mut words =
        directory.check.iter().map(|word| word.replace("{directory}", &documents).replace("{config}", &path));
    let program = words.next().unwrap_or_default();
    let output = Command::new(program).args(words).output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8_lossy(&said).into_owned()))
}
