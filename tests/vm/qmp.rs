//! QEMU's monitor protocol: JSON objects, a line each (QEMU, docs/interop/qmp-spec).

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

const ANSWER_MAX: Duration = Duration::from_secs(30);

/// A connection past its greeting.
pub(super) struct Qmp {
    socket: BufReader<UnixStream>,
}

impl Qmp {
    /// Takes QEMU's greeting and leaves the negotiation.
    pub(super) fn greet(socket: UnixStream) -> Result<Self> {
        socket.set_read_timeout(Some(ANSWER_MAX))?;
        let mut qmp = Self { socket: BufReader::new(socket) };
        qmp.line()?;
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs a command and gives what it returned. Events that come in between are passed over.
    pub(super) fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let request = json!({"execute": command, "arguments": arguments});
        writeln!(self.socket.get_mut(), "{request}")?;
        loop {
            let answer = self.line().with_context(|| format!("QMP {command}"))?;
            if let Some(returned) = answer.get("return") {
                return Ok(returned.clone());
            }
            if let Some(error) = answer.get("error") {
                bail!("QMP {request}: {}", error["desc"]);
            }
        }
    }

    /// Waits for an event.
    pub(super) fn event(&mut self, name: &str) -> Result<()> {
        while self.line()?["event"] != name {}
        Ok(())
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.socket.read_line(&mut line)? == 0 {
            bail!("QEMU closed its monitor");
        }
        Ok(serde_json::from_str(&line)?)
    }
}
