//! Questions to the JetStream API of the run's broker: one at a time, over a connection of its own.

use crate::endpoint;
use crate::wire::{Connection, Deadline, Op, encode};
use eventbench_core::driver::DriverError;
use eventbench_core::trial::Variables;
use serde_json::Value;
use std::time::Duration;

/// A cluster that elects a leader answers late; nothing that is well takes this long.
const PATIENCE: Duration = Duration::from_secs(15);

/// An answer that is no success.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The connection.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// Nobody answers for JetStream.
    #[error("JetStream is off on this server; add `jetstream = true` to [broker.nats], or start the server with -js")]
    Off,
    /// The server has refused.
    #[error("{what}: {description} (JetStream error {code})")]
    Refused {
        /// What was asked.
        what: String,
        /// Its number in the server's list of errors.
        code: u64,
        /// The server's words.
        description: String,
    },
    /// It did not answer in time.
    #[error("{what}: no answer within {} s; has the cluster a leader?", PATIENCE.as_secs())]
    Silent {
        /// What was asked.
        what: String,
    },
    /// Its answer cannot be read.
    #[error("{what}: the server's answer cannot be read: {cause}")]
    Unreadable {
        /// What was asked.
        what: String,
        /// Why.
        cause: String,
    },
}

impl ControlError {
    /// The server's number of the error, where it has one.
    pub fn code(&self) -> Option<u64> {
        match self {
            ControlError::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// A connection for questions.
pub struct Control {
    connection: Connection,
    asked: u64,
    inbox: String,
}

impl Control {
    /// Connects to the run's broker.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub fn connect(variables: &Variables, name: &str) -> Result<Control, DriverError> {
        let mut connection = endpoint::connect(variables, name)?;
        let inbox = format!(
            "_INBOX.ebc{:x}.{:x}.",
            std::process::id(),
            connection.server_info().client_id
        );
        let address = connection.address().to_owned();
        connection
            .sub(format!("{inbox}*"), None)
            .map_err(|e| endpoint::broken(&address, e))?;
        Ok(Control {
            connection,
            asked: 0,
            inbox,
        })
    }

    /// Asks `$JS.API.<subject>`.
    ///
    /// # Errors
    /// [`ControlError`]; every wait has a limit.
    pub fn ask(&mut self, subject: &str, body: &Value) -> Result<Value, ControlError> {
        self.asked += 1;
        let reply = format!("{}{}", self.inbox, self.asked);
        let address = self.connection.address().to_owned();
        let broken = |e| ControlError::Driver(endpoint::broken(&address, e));
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.connection
            .pub_frame(format!("$JS.API.{subject}"), Some(reply.as_bytes()), text.as_bytes())
            .map_err(broken)?;
        let until = Deadline::after(PATIENCE);
        loop {
            if !self.connection.poll_read(until).map_err(broken)? {
                return Err(ControlError::Silent {
                    what: subject.to_owned(),
                });
            }
            while let Some(op) = self.connection.next_op() {
                let Op::Msg(message) = op.map_err(broken)? else {
                    continue;
                };
                if message.subject != reply.as_bytes() {
                    continue;
                }
                if message.status() == Some(503) {
                    return Err(ControlError::Off);
                }
                return read(subject, message.payload);
            }
        }
    }
}

/// How long one probe may take; what is not answered is asked again.
const PROBE: Duration = Duration::from_millis(500);

impl Control {
    /// Whether a message on `subject` would reach its stream's leader, without storing one: it expects to be stored in a
    /// stream that does not exist, which the leader refuses.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn reaches_a_stream(&mut self, subject: &str) -> Result<bool, DriverError> {
        self.asked += 1;
        let reply = format!("{}{}", self.inbox, self.asked);
        let address = self.connection.address().to_owned();
        let broken = |e| endpoint::broken(&address, e);
        let mut headers = Vec::new();
        encode::header_block(&mut headers, [("Nats-Expected-Stream", "none of this name")]);
        self.connection
            .hpub_frame(subject, Some(reply.as_bytes()), &headers, b"")
            .map_err(broken)?;
        let until = Deadline::after(PROBE);
        while self.connection.poll_read(until).map_err(broken)? {
            while let Some(op) = self.connection.next_op() {
                if let Op::Msg(message) = op.map_err(broken)?
                    && message.subject == reply.as_bytes()
                {
                    return Ok(message.status().is_none());
                }
            }
        }
        Ok(false)
    }
}

fn read(subject: &str, payload: &[u8]) -> Result<Value, ControlError> {
    let answer: Value = serde_json::from_slice(payload).map_err(|e| ControlError::Unreadable {
        what: subject.to_owned(),
        cause: e.to_string(),
    })?;
    match answer.get("error") {
        None => Ok(answer),
        Some(error) => Err(ControlError::Refused {
            what: subject.to_owned(),
            code: error.get("err_code").and_then(Value::as_u64).unwrap_or(0),
            description: error
                .get("description")
                .and_then(Value::as_str)
                .unwrap_or("no reason given")
                .to_owned(),
        }),
    }
}
