//! A driver without a system: each event ends after a set time, or as set otherwise. It makes plans, books and
//! judgement testable in milliseconds on virtual time, and tells what the instrument itself costs on real time.

use eventbench_core::driver::{Driver, DriverDef, DriverError, Session};
use eventbench_core::lane::{Lane, Wake};
use eventbench_core::plan::{Settings, SettingsError};
use eventbench_core::ticket::{Outcome, Ticket};
use eventbench_core::trial::{StreamSpec, Trial};
use eventbench_core::units::Duration;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::VecDeque;

/// Settings of the driver.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fake {
    /// How long every event takes.
    latency: Duration,
    /// Every n-th event is refused.
    reject_every: Option<u64>,
    /// Every n-th event is never answered.
    drop_every: Option<u64>,
    /// From this instant of the schedule on …
    stall_at: Option<Duration>,
    /// … nothing is answered for so long.
    stall_for: Option<Duration>,
}

/// The driver's row.
pub const DRIVER: DriverDef = DriverDef {
    name: "fake",
    about: "no system at all: events end after a set time; for trying out plans and the instrument itself",
    check: |settings| read(settings).map(drop),
    schema: || schemars::schema_for!(Fake).to_value(),
    open: |settings, trial| {
        let own = read(settings).map_err(|e| DriverError::new("fake", e))?;
        Ok(Box::new(Pretending {
            own,
            streams: trial.connections,
        }))
    },
};

fn read(settings: &Settings) -> Result<Fake, SettingsError> {
    let own: Fake = settings.read()?;
    for (key, value) in [("reject_every", own.reject_every), ("drop_every", own.drop_every)] {
        if value == Some(0) {
            return Err(settings.error(key, "every 0th makes no sense; leave the key away for never"));
        }
    }
    Ok(own)
}

struct Pretending {
    own: Fake,
    streams: u32,
}

impl Driver for Pretending {
    fn streams(&self) -> Vec<StreamSpec> {
        (0..self.streams)
            .map(|_| StreamSpec { name: "all".to_owned() })
            .collect()
    }

    fn session(&self, _: &Trial, _: u32) -> Result<Box<dyn Session>, DriverError> {
        Ok(Box::new(Pretence {
            own: self.own.clone(),
            open: VecDeque::new(),
            n: 0,
        }))
    }
}

struct Pretence {
    own: Fake,
    open: VecDeque<(u64, Ticket)>,
    n: u64,
}

impl Session for Pretence {
    fn drive(&mut self, lane: &mut Lane) -> Result<(), DriverError> {
        let start = lane.recorder.window().start_ns;
        let stall = self.own.stall_at.map(|at| {
            (
                start + at.ns(),
                start + at.ns() + self.own.stall_for.map_or(0, Duration::ns),
            )
        });
        let every = |n: u64, of: Option<u64>| of.is_some_and(|of| n.is_multiple_of(of));
        loop {
            let now = lane.clock.now_ns();
            let mut sent = 0;
            while let Some((_, ticket)) = self.open.pop_front_if(|(end, _)| *end <= now) {
                let outcome = if every(ticket.seq + 1, self.own.reject_every) {
                    Outcome::Rejected
                } else {
                    Outcome::Acked
                };
                lane.settle(ticket, outcome, now);
            }
            while let Some(mut ticket) = lane.take(now) {
                lane.sent(&mut ticket, now);
                sent += 1;
                self.n += 1;
                if every(self.n, self.own.drop_every) {
                    continue;
                }
                let end = now + self.own.latency.ns();
                let end = match stall {
                    Some((from, until)) if end >= from && end < until => until,
                    _ => end,
                };
                self.open.push_back((end, ticket));
            }
            lane.publish_progress(sent);
            if lane.signals.stopped() || now >= lane.deadline_ns {
                return Ok(());
            }
            let next_end = self.open.front().map_or(u64::MAX, |(end, _)| *end);
            match lane.wake() {
                Wake::Ended if self.open.is_empty() => return Ok(()),
                Wake::Ended | Wake::WhenSettled => lane.clock.sleep_until(next_end.min(lane.deadline_ns)),
                Wake::At(due) => lane.clock.sleep_until(due.min(next_end)),
            }
        }
    }
}
