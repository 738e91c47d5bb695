//! What a broker's server has done between two readings of its monitoring.

use crate::linux::monotonic_ns;
use crate::provision::{JetStreamReading, Monitor, MonitorError, ServerReading, SubscriptionReading};

/// One reading of one server.
#[derive(Debug, Clone, PartialEq)]
pub struct BrokerReading {
    /// When the answer to the first question was there, in nanoseconds of the monotonic clock.
    pub at_ns: u64,
    /// Counters and state.
    pub server: ServerReading,
    /// Subscriptions and routing.
    pub subscriptions: SubscriptionReading,
    /// Streams; `None` when they were not asked for or are off.
    pub jetstream: Option<JetStreamReading>,
}

/// What happened between two readings of the same start of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerDelta {
    /// The time between the readings in nanoseconds.
    pub span_ns: u64,
    /// Messages taken in.
    pub in_msgs: u64,
    /// Messages given out.
    pub out_msgs: u64,
    /// Payload bytes taken in.
    pub in_bytes: u64,
    /// Payload bytes given out.
    pub out_bytes: u64,
    /// Client connections made.
    pub new_connections: u64,
    /// Clients cut off because they did not keep up: each has lost messages.
    pub slow_consumers: u64,
    /// Clients cut off because they did not answer.
    pub stale_connections: u64,
    /// Times that a publisher was held back.
    pub stalled_clients: u64,
    /// Subscriptions made.
    pub subscriptions_made: u64,
    /// Subscriptions ended.
    pub subscriptions_ended: u64,
    /// Requests to the API of JetStream that were answered by an error; 0 when it was not read.
    pub jetstream_errors: u64,
}

impl BrokerReading {
    /// Reads a server; two requests, or three with `jetstream`.
    ///
    /// # Errors
    /// [`MonitorError`].
    pub fn read(monitor: &Monitor, jetstream: bool) -> Result<Self, MonitorError> {
        let server = monitor.server()?;
        let at_ns = monotonic_ns();
        let subscriptions = monitor.subscriptions()?;
        let jetstream = if jetstream {
            Some(monitor.jetstream()?).filter(|j| !j.disabled)
        } else {
            None
        };
        Ok(Self {
            at_ns,
            server,
            subscriptions,
            jetstream,
        })
    }

    /// What happened since `earlier`; `None` when the server was started anew in between, so that its counters began
    /// at zero again, or when `earlier` is the later one.
    pub fn since(&self, earlier: &Self) -> Option<BrokerDelta> {
        let (now, then) = (&self.server, &earlier.server);
        if now.server_id != then.server_id || now.start != then.start {
            return None;
        }
        let (subs_now, subs_then) = (&self.subscriptions, &earlier.subscriptions);
        let js_errors = |reading: &Self| reading.jetstream.as_ref().map(|j| j.api.errors);
        Some(BrokerDelta {
            span_ns: self.at_ns.checked_sub(earlier.at_ns)?,
            in_msgs: now.in_msgs.checked_sub(then.in_msgs)?,
            out_msgs: now.out_msgs.checked_sub(then.out_msgs)?,
            in_bytes: now.in_bytes.checked_sub(then.in_bytes)?,
            out_bytes: now.out_bytes.checked_sub(then.out_bytes)?,
            new_connections: now.total_connections.checked_sub(then.total_connections)?,
            slow_consumers: now.slow_consumers.checked_sub(then.slow_consumers)?,
            stale_connections: now.stale_connections.checked_sub(then.stale_connections)?,
            stalled_clients: now.stalled_clients.checked_sub(then.stalled_clients)?,
            subscriptions_made: subs_now.num_inserts.checked_sub(subs_then.num_inserts)?,
            subscriptions_ended: subs_now.num_removes.checked_sub(subs_then.num_removes)?,
            jetstream_errors: match (js_errors(self), js_errors(earlier)) {
                (Some(now), Some(then)) => now.checked_sub(then)?,
                _ => 0,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(at_ns: u64, in_msgs: u64, start: &str) -> BrokerReading {
        let server = ServerReading {
            in_msgs,
            out_msgs: 2 * in_msgs,
            start: start.into(),
            ..Default::default()
        };
        BrokerReading {
            at_ns,
            server,
            subscriptions: SubscriptionReading::default(),
            jetstream: None,
        }
    }

    #[test]
    fn counters_are_subtracted_and_a_restart_is_not_taken_for_traffic() {
        let (first, second) = (reading(1_000, 10, "a"), reading(3_000, 25, "a"));
        let delta = second.since(&first).unwrap();
        assert_eq!((delta.span_ns, delta.in_msgs, delta.out_msgs), (2_000, 15, 30));
        assert_eq!(first.since(&second), None);
        assert_eq!(reading(9_000, 90, "b").since(&second), None);
    }
}
