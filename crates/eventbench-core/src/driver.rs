//! What a protocol must offer: drivers that send events, observers that see where they end, checks of readiness.
//!
//! The hot loop belongs to the session: dynamic dispatch happens once a lane, never once an event.

use crate::lane::Lane;
use crate::metric::{MetricKey, MetricValue};
use crate::observe::{Causes, HopTimes};
use crate::payload::Template;
use crate::plan::{Settings, SettingsError};
use crate::trial::{StreamSpec, Trial, Variables};
use crate::view::View;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An error of a driver or an observer, in words for the user.
#[derive(Debug, thiserror::Error)]
#[error("{context}: {cause}")]
pub struct DriverError {
    /// What was being done, and with what.
    pub context: String,
    /// Why it failed, and what to do.
    pub cause: String,
}

impl DriverError {
    /// An error from its two halves.
    pub fn new(context: impl Into<String>, cause: impl std::fmt::Display) -> Self {
        Self {
            context: context.into(),
            cause: cause.to_string(),
        }
    }
}

/// Something that sends events.
pub trait Driver: Send + Sync {
    /// The streams it sends; their number is a multiple of `trial.lanes`.
    fn streams(&self) -> Vec<StreamSpec>;

    /// Whether its confirmation promises that the event will arrive: only then is an event that does not arrive *lost
    /// after ack*.
    fn promises_delivery(&self) -> bool {
        true
    }

    /// Opens the connections of one lane.
    ///
    /// # Errors
    /// In words for the user: what could not be reached, and what to do.
    fn session(&self, trial: &Trial, lane: u32) -> Result<Box<dyn Session>, DriverError>;

    /// A template of the payload of a stream, for observers that see the whole payload.
    fn template(&self, _stream: u32) -> Option<&Template> {
        None
    }
}

/// How often each of several instances has answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shares {
    /// How many instances there are: one that never answered has a share as well.
    pub instances: u32,
    /// Answers by name.
    pub answers: BTreeMap<String, u64>,
}

impl Shares {
    /// Adds another lane's: the only place where two are put together.
    pub fn merge(&mut self, other: Shares) {
        self.instances = self.instances.max(other.instances);
        for (name, n) in other.answers {
            *self.answers.entry(name).or_default() += n;
        }
    }

    /// Jain's index, (Σx)² / (n Σx²); `None` when nobody answered.
    ///
    /// Source: R. Jain, D. Chiu, W. Hawe, "A quantitative measure of fairness and discrimination", DEC-TR-301 (1984).
    pub fn fairness(&self) -> Option<f64> {
        let sum: f64 = self.answers.values().map(|n| *n as f64).sum();
        let squares: f64 = self.answers.values().map(|n| (*n as f64).powi(2)).sum();
        let n = f64::from(self.instances).max(self.answers.len() as f64);
        (squares > 0.0).then(|| sum * sum / (n * squares))
    }
}

/// One lane's connections.
pub trait Session: Send {
    /// Sends what the lane's schedule says until it has ended and everything is settled or the deadline has passed.
    ///
    /// # Errors
    /// When it cannot go on. Tickets that are not settled then count as abandoned; the lane keeps what was measured.
    fn drive(&mut self, lane: &mut Lane) -> Result<(), DriverError>;

    /// What the session knows of its own traffic beyond the lane's books, as (metric id, value).
    fn extras(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// How often each of several instances has answered, by name; `None` where that was not asked for.
    fn shares(&self) -> Option<Shares> {
        None
    }

    /// What the session measured beyond the lane's books: distributions and counts by metric, with tags where needed.
    /// Lanes' values are added up. Asked once, when the lane has ended.
    fn measures(&mut self) -> Vec<(MetricKey, MetricValue)> {
        Vec::new()
    }

    /// The events that did not end well, by cause. Asked once, when the lane has ended.
    fn causes(&mut self) -> Causes {
        Causes::default()
    }

    /// Where the time of the events went, as the system itself told. Asked once, when the lane has ended.
    fn hops(&mut self) -> HopTimes {
        HopTimes::default()
    }
}

/// Where events must arrive.
pub trait Observer: Send {
    /// Watches until `signals.close`, then looks a last time.
    ///
    /// # Errors
    /// When it cannot see any more. What was seen until then stays in the view.
    fn watch(&mut self, view: &mut View) -> Result<(), DriverError>;

    /// An independent count of everything there is to see, for the cross-check of the books; `None` where none exists.
    ///
    /// # Errors
    /// When it should exist and cannot be had.
    fn count(&mut self) -> Result<Option<u64>, DriverError> {
        Ok(None)
    }

    /// What the observer knows beyond its view, as (metric id, value).
    fn extras(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

/// Refuses settings that make no sense; needs no connection.
pub type CheckSettings = fn(&Settings) -> Result<(), SettingsError>;
/// Makes a driver from its settings.
pub type OpenDriver = fn(&Settings, &Trial) -> Result<Box<dyn Driver>, DriverError>;
/// Opens an observer; it must see everything sent after it returns.
pub type OpenObserver = fn(&Settings, &Trial, Arc<dyn Driver>) -> Result<Box<dyn Observer>, DriverError>;
/// What a readiness check keeps from one question to the next, such as a connection.
pub type Kept = Option<Box<dyn std::any::Any>>;
/// Asks once whether a service is ready, waiting at most until the instant given; `Ok(false)` means not yet.
pub type AskReady = fn(&Settings, &Variables, u64, &mut Kept) -> Result<bool, DriverError>;

/// One row of the table of drivers.
pub struct DriverDef {
    /// The name that `drive.driver` takes.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Refuses settings that make no sense; needs no connection.
    pub check: CheckSettings,
    /// The JSON Schema of its settings, for editors.
    pub schema: fn() -> serde_json::Value,
    /// Makes the driver; connections open with its sessions.
    pub open: OpenDriver,
}

/// One row of the table of observers.
pub struct ObserverDef {
    /// The name that `observe.driver` takes.
    pub name: &'static str,
    /// What it watches, in a line.
    pub about: &'static str,
    /// Refuses settings that make no sense.
    pub check: CheckSettings,
    /// The JSON Schema of its settings.
    pub schema: fn() -> serde_json::Value,
    /// Opens it; it must see everything sent after it returns.
    pub open: OpenObserver,
}

/// One row of the table of readiness checks.
pub struct ReadyDef {
    /// The key that `service.NAME.ready` takes.
    pub name: &'static str,
    /// What it asks, in a line.
    pub about: &'static str,
    /// Refuses settings that make no sense.
    pub check: CheckSettings,
    /// Asks.
    pub ask: AskReady,
}

/// Everything that can drive, observe and tell readiness: the tables, as the binary puts them together.
#[derive(Clone, Copy)]
pub struct Registry {
    /// Drivers.
    pub drivers: &'static [DriverDef],
    /// Observers.
    pub observers: &'static [ObserverDef],
    /// Readiness checks.
    pub ready: &'static [ReadyDef],
}

impl Registry {
    /// A driver by name.
    pub fn driver(&self, name: &str) -> Option<&'static DriverDef> {
        self.drivers.iter().find(|d| d.name == name)
    }

    /// An observer by name.
    pub fn observer(&self, name: &str) -> Option<&'static ObserverDef> {
        self.observers.iter().find(|d| d.name == name)
    }

    /// A readiness check by name.
    pub fn ready(&self, name: &str) -> Option<&'static ReadyDef> {
        self.ready.iter().find(|d| d.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fairness_is_one_for_equal_shares_and_counts_those_who_never_answered() {
        let shares = |instances, answers: &[u64]| Shares {
            instances,
            answers: answers.iter().enumerate().map(|(i, n)| (i.to_string(), *n)).collect(),
        };
        for (shares, fairness) in [
            (shares(3, &[7, 7, 7]), Some(1.0)),
            (shares(3, &[9]), Some(1.0 / 3.0)),
            (shares(3, &[10, 10, 1]), Some(441.0 / 603.0)),
            (shares(3, &[]), None),
        ] {
            assert_eq!(shares.fairness(), fairness);
        }
        let mut whole = shares(3, &[1, 2]);
        whole.merge(shares(3, &[3, 0, 4]));
        assert_eq!(whole, shares(3, &[4, 2, 4]));
    }
}
