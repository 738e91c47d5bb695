//! What a broker's servers have done between two readings of their monitoring.

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
    /// Messages taken in, from clients and other servers.
    pub in_msgs: u64,
    /// Messages given out, to clients and other servers.
    pub out_msgs: u64,
    /// Messages taken in from clients; `None` of a server with routes that does not count them apart.
    pub client_in_msgs: Option<u64>,
    /// Messages given out to clients; `None` of a server with routes that does not count them apart.
    pub client_out_msgs: Option<u64>,
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
        // Without routes all of it is of clients, also on servers that do not count apart.
        let of_clients =
            |reading: &ServerReading, apart: Option<u64>, all: u64| apart.or((reading.routes == 0).then_some(all));
        let apart = |now: Option<u64>, then: Option<u64>| now?.checked_sub(then?);
        let js_errors = |reading: &Self| reading.jetstream.as_ref().map(|j| j.api.errors);
        Some(BrokerDelta {
            span_ns: self.at_ns.checked_sub(earlier.at_ns)?,
            in_msgs: now.in_msgs.checked_sub(then.in_msgs)?,
            out_msgs: now.out_msgs.checked_sub(then.out_msgs)?,
            client_in_msgs: apart(
                of_clients(now, now.in_client_msgs, now.in_msgs),
                of_clients(then, then.in_client_msgs, then.in_msgs),
            ),
            client_out_msgs: apart(
                of_clients(now, now.out_client_msgs, now.out_msgs),
                of_clients(then, then.out_client_msgs, then.out_msgs),
            ),
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

/// A reading of every server of a broker.
#[derive(Debug, Clone, PartialEq)]
pub struct BrokerReadings(Vec<BrokerReading>);

impl BrokerReadings {
    /// Reads all of them; `None` when there is none or one does not answer, since a sum without it would be no sum.
    pub fn read(monitors: &[Monitor], jetstream: bool) -> Option<Self> {
        let all: Option<Vec<_>> = monitors
            .iter()
            .map(|m| BrokerReading::read(m, jetstream).ok())
            .collect();
        all.filter(|all| !all.is_empty()).map(Self)
    }

    /// What happened on all servers together since `earlier`; `None` when one was started anew in between. What only
    /// some servers tell is not told of all.
    pub fn since(&self, earlier: &Self) -> Option<BrokerDelta> {
        if self.0.len() != earlier.0.len() {
            return None;
        }
        let mut deltas = self.0.iter().zip(&earlier.0).map(|(now, then)| now.since(then));
        let mut total = deltas.next()??;
        for delta in deltas {
            total.add(&delta?);
        }
        Some(total)
    }

    /// Subscriptions on all servers.
    pub fn subscriptions(&self) -> u64 {
        self.0.iter().map(|r| r.subscriptions.num_subscriptions).sum()
    }
}

impl BrokerDelta {
    fn add(&mut self, other: &Self) {
        let both = |a: Option<u64>, b: Option<u64>| Some(a? + b?);
        self.span_ns = self.span_ns.max(other.span_ns);
        self.in_msgs += other.in_msgs;
        self.out_msgs += other.out_msgs;
        self.client_in_msgs = both(self.client_in_msgs, other.client_in_msgs);
        self.client_out_msgs = both(self.client_out_msgs, other.client_out_msgs);
        self.in_bytes += other.in_bytes;
        self.out_bytes += other.out_bytes;
        self.new_connections += other.new_connections;
        self.slow_consumers += other.slow_consumers;
        self.stale_connections += other.stale_connections;
        self.stalled_clients += other.stalled_clients;
        self.subscriptions_made += other.subscriptions_made;
        self.subscriptions_ended += other.subscriptions_ended;
        self.jetstream_errors += other.jetstream_errors;
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

    #[test]
    fn what_servers_pass_on_to_each_other_is_not_counted_as_of_clients() {
        let routed = |in_msgs: u64, of_clients: Option<u64>, start: &str| {
            let mut reading = reading(1_000, in_msgs, start);
            reading.server.routes = 8;
            reading.server.in_client_msgs = of_clients;
            reading.server.out_client_msgs = of_clients;
            reading
        };
        let before = BrokerReadings(vec![routed(5, Some(0), "a"), routed(5, Some(0), "b")]);
        let after = BrokerReadings(vec![routed(105, Some(100), "a"), routed(105, Some(20), "b")]);
        let delta = after.since(&before).unwrap();
        assert_eq!(
            (delta.in_msgs, delta.client_in_msgs, delta.client_out_msgs),
            (200, Some(120), Some(120))
        );
        // An older server with routes does not tell, one without routes need not.
        let old = BrokerReadings(vec![routed(5, None, "a")]);
        assert_eq!(
            BrokerReadings(vec![routed(9, None, "a")])
                .since(&old)
                .unwrap()
                .client_in_msgs,
            None
        );
        let single = BrokerReadings(vec![reading(1, 5, "a")]);
        let later = BrokerReadings(vec![reading(2, 9, "a")]);
        assert_eq!(later.since(&single).unwrap().client_in_msgs, Some(4));
        // One server that was started anew spoils the sum.
        let restarted = BrokerReadings(vec![routed(105, Some(100), "a"), routed(1, Some(1), "c")]);
        assert_eq!(restarted.since(&before), None);
        assert_eq!(single.since(&before), None);
    }
}
