//! A JetStream consumer as observer: an event has ended when a consumer was given it.
//!
//! A durable consumer acknowledges what it has seen, so that what is given a second time is a redelivery. An ordered one
//! acknowledges nothing and demands that nothing is left out: after a gap it starts again behind the last message.

use super::ack::Delivery;
use super::control::{Control, ControlError};
use crate::endpoint;
use crate::wire::{Connection, Deadline, Op, WireError, encode};
use eventbench_core::driver::{Driver, DriverError, Observer, ObserverDef};
use eventbench_core::payload::Content;
use eventbench_core::plan::{Settings, SettingsError};
use eventbench_core::trial::Variables;
use eventbench_core::units::Duration;
use eventbench_core::view::View;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Settings of the observer.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Consume {
    /// The stream.
    stream: String,
    /// Only messages of this subject, with wildcards; all if absent.
    subject: Option<String>,
    /// The durable consumer's name; one of the run's own, removed at its end, if absent.
    durable: Option<String>,
    /// An ordered consumer instead: nothing is acknowledged, and nothing may be left out; false if absent.
    #[serde(default)]
    ordered: bool,
    /// Messages asked for at a time; 500 if absent.
    batch: Option<u32>,
    /// After how long without acknowledgement a message is given again; 30 s if absent.
    ack_wait: Option<Duration>,
    /// How long a lost connection is tried again; not at all if absent.
    reconnect: Option<Duration>,
}

/// The observer's row.
pub const OBSERVER: ObserverDef = ObserverDef {
    name: "jetstream",
    about: "a JetStream consumer, durable or ordered: events end when they are given to it",
    check: |settings| read(settings).map(drop),
    schema: || schemars::schema_for!(Consume).to_value(),
    open: |settings, trial, driver| {
        let own = read(settings).map_err(|e| DriverError::new("observe jetstream", e))?;
        let consumer = own.durable.clone().unwrap_or_else(|| format!("eb{:06x}", trial.number));
        let mut reader = Reader {
            variables: trial.variables.clone(),
            name: format!("{} observer", trial.name),
            inbox: format!("_INBOX.ebj{:x}.{:x}.", std::process::id(), trial.number).into_bytes(),
            remove: own.durable.is_none(),
            consumer,
            settings: own,
            after_seq: 0,
            pulls: 0,
        };
        reader.make()?;
        let connection = reader.listen()?;
        Ok(Box::new(Consumer {
            connection,
            reader,
            driver,
            seed: trial.seed,
            epoch_ms: trial.epoch_ms,
            scratch: Vec::new(),
            asked: 0,
            expected: 1,
            counts: Counts::default(),
        }))
    },
};

fn read(settings: &Settings) -> Result<Consume, SettingsError> {
    let own: Consume = settings.read()?;
    if own.stream.is_empty() {
        return Err(settings.error("stream", "expected the name of a stream, such as \"EVENTS\""));
    }
    if own.ordered && own.durable.is_some() {
        return Err(settings.error(
            "durable",
            "an ordered consumer has no name; leave out `durable` or `ordered`",
        ));
    }
    if own.batch.is_some_and(|n| n == 0 || n > 10_000) {
        return Err(settings.error("batch", "expected a number of messages from 1 to 10000"));
    }
    Ok(own)
}

/// What is needed to make the consumer, and to make its connection again.
struct Reader {
    variables: Variables,
    name: String,
    inbox: Vec<u8>,
    consumer: String,
    remove: bool,
    settings: Consume,
    /// Ordered: the stream's number of the last message that was given.
    after_seq: u64,
    /// Numbers the inboxes of pulls, so that what belongs to an earlier consumer is told apart.
    pulls: u64,
}

impl Reader {
    fn failed(&self, error: ControlError) -> DriverError {
        let hint = match error.code() {
            Some(10_059) => "; a driver with `stream = { … }`, or a service, must have made it",
            _ => "",
        };
        DriverError::new(
            format!("consumer on stream \"{}\"", self.settings.stream),
            format!("{error}{hint}"),
        )
    }

    fn config(&self) -> Value {
        let mut config = if self.settings.ordered {
            json!({
                "ack_policy": "none",
                "mem_storage": true,
                "num_replicas": 1,
                "inactive_threshold": 300_000_000_000_u64,
                "name": self.consumer,
            })
        } else {
            json!({
                "ack_policy": "explicit",
                "ack_wait": self.settings.ack_wait.map_or(30_000_000_000, Duration::ns),
                "max_ack_pending": 100_000,
                "durable_name": self.consumer,
            })
        };
        config["max_waiting"] = json!(16);
        if let Some(subject) = &self.settings.subject {
            config["filter_subject"] = json!(subject);
        }
        if self.after_seq > 0 {
            config["deliver_policy"] = json!("by_start_sequence");
            config["opt_start_seq"] = json!(self.after_seq + 1);
        } else {
            config["deliver_policy"] = json!("all");
        }
        config
    }

    /// Makes the consumer; a durable one that is there with the same configuration is taken as it is.
    fn make(&mut self) -> Result<(), DriverError> {
        let mut control = Control::connect(&self.variables, &self.name)?;
        let stream = &self.settings.stream;
        let subject = format!("CONSUMER.CREATE.{stream}.{}", self.consumer);
        let body = json!({ "stream_name": stream, "config": self.config() });
        control.ask(&subject, &body).map_err(|e| self.failed(e))?;
        Ok(())
    }

    fn listen(&self) -> Result<Connection, DriverError> {
        let mut connection = endpoint::connect(&self.variables, &self.name)?;
        let address = connection.address().to_owned();
        let broken = |e| endpoint::broken(&address, e);
        connection
            .sub([self.inbox.as_slice(), b"*"].concat(), None)
            .map_err(broken)?;
        connection
            .settle(Deadline::after(std::time::Duration::from_secs(5)))
            .map_err(broken)?;
        Ok(connection)
    }

    fn batch(&self) -> u32 {
        self.settings.batch.unwrap_or(500)
    }

    /// Asks for a batch.
    fn pull(&mut self, connection: &mut Connection) {
        self.pulls += 1;
        let mut reply = self.inbox.clone();
        encode::number(&mut reply, self.pulls);
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.settings.stream, self.consumer);
        let body = format!("{{\"batch\":{},\"expires\":5000000000}}", self.batch());
        encode::publish(connection.out(), subject.as_bytes(), Some(&reply), body.as_bytes());
    }
}

/// What is counted beside the view.
#[derive(Default)]
struct Counts {
    redelivered: u64,
    reconnects: u64,
    pending: u64,
    unacked: u64,
    /// Deliveries of the consumer by its own account, where nothing was lost on the way.
    delivered: Option<u64>,
}

struct Consumer {
    connection: Connection,
    reader: Reader,
    driver: Arc<dyn Driver>,
    seed: u64,
    epoch_ms: i64,
    scratch: Vec<u8>,
    /// Messages asked for and not yet given.
    asked: u32,
    /// Ordered: the number that the next delivery must have.
    expected: u64,
    counts: Counts,
}

/// Why reading stopped.
enum Stop {
    /// The connection is gone.
    Lost(WireError),
    /// An ordered consumer was given something out of turn, or is gone.
    Gap,
    /// For good.
    Fatal(DriverError),
}

impl Consumer {
    /// Takes everything that has arrived; gives how many messages that was.
    fn take(&mut self, view: &mut View, now_ns: u64) -> Result<u64, Stop> {
        let ordered = self.reader.settings.ordered;
        let mut taken = 0;
        loop {
            let Consumer {
                connection,
                reader,
                driver,
                scratch,
                asked,
                expected,
                counts,
                seed,
                epoch_ms,
                ..
            } = self;
            let address = connection.address().to_owned();
            let step = connection.next_op_with(|op, out| match op {
                Op::Msg(message) => {
                    let Some(reply) = message.reply else {
                        // A pull that has ended without all it asked for: 404 and 408 say that there is nothing now.
                        return match message.status() {
                            Some(409) if ordered => Err(Stop::Gap),
                            _ => {
                                *asked = 0;
                                Ok(0)
                            }
                        };
                    };
                    let Some(delivery) = Delivery::read(reply) else {
                        return Ok(0);
                    };
                    *asked = asked.saturating_sub(1);
                    if ordered {
                        if delivery.consumer_seq != *expected {
                            return Err(Stop::Gap);
                        }
                        *expected += 1;
                        reader.after_seq = delivery.stream_seq;
                    } else {
                        encode::publish(out, reply, None, b"+ACK");
                        counts.redelivered += u64::from(delivery.times > 1);
                    }
                    let Some(stamp) = view.sight(message.payload, now_ns) else {
                        return Ok(1);
                    };
                    let content = Content {
                        stamp,
                        seed: *seed,
                        epoch_ms: *epoch_ms,
                    };
                    let intact = driver
                        .template(stamp.stream)
                        .is_none_or(|t| t.matches(&content, message.payload, scratch));
                    if !intact {
                        view.damaged();
                    }
                    Ok(1)
                }
                Op::Err(text) => Err(Stop::Fatal(DriverError::new(
                    format!("NATS at {address}"),
                    text.to_owned(),
                ))),
                _ => Ok(0),
            });
            match step {
                None => return Ok(taken),
                Some(Ok(n)) => taken += n?,
                Some(Err(e)) => return Err(Stop::Lost(e)),
            }
        }
    }

    /// One look: asks for more where little is under way, waits, takes, acknowledges. Gives whether anything came.
    fn look(&mut self, view: &mut View) -> Result<bool, Stop> {
        let batch = self.reader.batch();
        if self.asked <= batch / 2 {
            self.reader.pull(&mut self.connection);
            self.asked += batch;
        }
        let until = Deadline::at_ns(view.clock.now_ns() + 20_000_000);
        let arrived = self.connection.poll_read(until).map_err(Stop::Lost)?;
        // Everything that one read brought was there at the instant of the read.
        let now = view.clock.now_ns();
        let taken = if arrived { self.take(view, now)? } else { 0 };
        self.connection.try_flush().map_err(Stop::Lost)?;
        view.publish_progress();
        Ok(taken > 0)
    }

    /// After a loss or a gap: the connection, and for an ordered consumer the consumer itself, made again.
    fn again(&mut self, view: &View, error: Option<WireError>) -> Result<(), DriverError> {
        let begun = view.clock.now_ns();
        let patience = self.reader.settings.reconnect.map_or(0, Duration::ns);
        if let Some(error) = error
            && patience == 0
        {
            return Err(endpoint::broken(self.connection.address(), error));
        }
        loop {
            let ordered = self.reader.settings.ordered;
            let made = if ordered {
                self.reader.consumer = format!("eb{:06x}x{}", self.seed & 0xff_ffff, self.reader.pulls);
                self.reader.make()
            } else {
                Ok(())
            };
            match made.and_then(|()| self.reader.listen()) {
                Ok(connection) => {
                    self.connection = connection;
                    self.asked = 0;
                    self.expected = 1;
                    self.counts.reconnects += 1;
                    return Ok(());
                }
                Err(e) => {
                    let now = view.clock.now_ns();
                    if now >= begun + patience || view.closing() {
                        return Err(e);
                    }
                    view.clock.sleep_until(now + 20_000_000);
                }
            }
        }
    }

    /// What the consumer says of itself at the end.
    fn ask_itself(&mut self) -> Result<(), DriverError> {
        let mut control = Control::connect(&self.reader.variables, &self.reader.name)?;
        let subject = format!("CONSUMER.INFO.{}.{}", self.reader.settings.stream, self.reader.consumer);
        let info = control.ask(&subject, &Value::Null).map_err(|e| self.reader.failed(e))?;
        let number = |path: &str| info.pointer(path).and_then(Value::as_u64).unwrap_or(0);
        self.counts.pending = number("/num_pending");
        self.counts.unacked = number("/num_ack_pending");
        self.counts.delivered = (self.counts.reconnects == 0).then(|| number("/delivered/consumer_seq"));
        if self.reader.remove {
            let subject = format!(
                "CONSUMER.DELETE.{}.{}",
                self.reader.settings.stream, self.reader.consumer
            );
            // Where it is gone already nothing is left to remove.
            let _ = control.ask(&subject, &Value::Null);
        }
        Ok(())
    }
}

impl Observer for Consumer {
    fn watch(&mut self, view: &mut View) -> Result<(), DriverError> {
        loop {
            let closing = view.closing();
            match self.look(view) {
                Ok(arrived) if closing && !arrived => break,
                Ok(_) => {}
                Err(Stop::Fatal(error)) => return Err(error),
                Err(Stop::Lost(error)) => self.again(view, Some(error))?,
                Err(Stop::Gap) => self.again(view, None)?,
            }
        }
        // The last acknowledgements are processed when a ping behind them is answered.
        let address = self.connection.address().to_owned();
        self.connection
            .settle(Deadline::after(std::time::Duration::from_secs(5)))
            .map_err(|e| endpoint::broken(&address, e))?;
        self.ask_itself()
    }

    fn count(&mut self) -> Result<Option<u64>, DriverError> {
        Ok(self.counts.delivered)
    }

    fn extras(&self) -> Vec<(&'static str, u64)> {
        let mut extras = vec![
            ("reconnects", self.counts.reconnects),
            ("consumer.pending", self.counts.pending),
        ];
        if !self.reader.settings.ordered {
            extras.extend([
                ("redelivered", self.counts.redelivered),
                ("consumer.unacked", self.counts.unacked),
            ]);
        }
        extras
    }
}
