//! The demo resource servers, for the requirements that bind those: one asks the authorization server about each token, the
//! other verifies tokens itself.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::lab::{Role, Target};
use crate::start;

/// Two resource servers at work; ended when this goes.
pub struct Apis {
    processes: Vec<Child>,
    /// Their URLs, by name.
    pub urls: BTreeMap<String, String>,
}

impl Apis {
    /// Starts the program twice, on free ports, with files beside those of the authorization server.
    ///
    /// # Errors
    /// It does not start, or there is nobody it could be for the authorization server.
    pub fn start(program: &Path, directory: &Path, target: &Target) -> Result<Self, String> {
        let client = target.client(Role::ResourceServer).map_err(ToOwned::to_owned)?;
        start::pair(directory, "api-client", &client.shown)?;
        let mut apis = Self { processes: Vec::new(), urls: BTreeMap::new() };
        let asking = [
            "--introspect",
            "--client-id",
            &client.id,
            "--client-cert",
            "api-client.pem",
            "--client-key",
            "api-client.key",
        ];
        apis.run(program, directory, target, "introspecting", &asking)?;
        apis.run(program, directory, target, "local", &["--local"])?;
        Ok(apis)
    }

    fn run(
        &mut self,
        program: &Path,
        at: &Path,
        target: &Target,
        name: &str,
        way: &[&str],
    ) -> Result<(), String> {
        let program =
            std::fs::canonicalize(program).map_err(|error| format!("{}: {error}", program.display()))?;
        let mut command = Command::new(&program);
        command.current_dir(at).args(way).args(["--issuer", &target.config.issuer]);
        command.args([
            "--resource",
            target.config.resource.as_deref().unwrap_or_default(),
            "--scope",
            "read",
        ]);
        command.args([
            "--listen",
            "127.0.0.1:0",
            "--cert",
            "server.pem",
            "--key",
            "server.key",
            "--ca",
            "server-ca.pem",
        ]);
        let log =
            std::fs::File::create(at.join(format!("api-{name}.log"))).map_err(|error| error.to_string())?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut process = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        let mut line = String::new();
        let said = process.stdout.take().map(|stdout| BufReader::new(stdout).read_line(&mut line));
        self.processes.push(process);
        match (said, line.trim().rsplit_once(':')) {
            (Some(Ok(_)), Some((_, port))) => {
                self.urls.insert(name.to_owned(), format!("https://localhost:{port}/resource"));
                Ok(())
            }
            _ => Err(format!("the demo resource server ({name}) does not start: {line}")),
        }
    }
}

impl Drop for Apis {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // It may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
