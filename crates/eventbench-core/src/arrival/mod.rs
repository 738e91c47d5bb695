//! Arrival: when each event is meant to be sent, as a pure function of its number.
//!
//! `due(k)` is computed from k alone, never by adding rounded gaps, so a schedule neither drifts nor depends on who
//! asks, in which order or how often.

mod burst;
mod closed;
mod constant;
mod poisson;
mod ramp;
mod steps;
mod users;

pub use burst::Burst;
pub use closed::Closed;
pub use constant::Constant;
pub use poisson::Poisson;
pub use ramp::Ramp;
pub use steps::Steps;
pub use users::{StageEntry, Think, Users};

use crate::plan::Load;

/// One row of [`ARRIVALS`].
pub struct ArrivalDef {
    /// The name that `load.arrival` takes.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// The fields of `load` that belong to this shape; any other shape field beside it is refused.
    pub fields: &'static [&'static str],
    /// Builds the shape; the error says which field is missing or does not fit.
    pub build: fn(&Load) -> Result<Arrival, String>,
}

/// Every arrival shape.
pub const ARRIVALS: &[ArrivalDef] = &[
    ArrivalDef {
        name: "constant",
        about: "evenly spaced at `rate`",
        fields: &["rate"],
        build: constant::build,
    },
    ArrivalDef {
        name: "poisson",
        about: "independent arrivals at a mean of `rate`",
        fields: &["rate"],
        build: poisson::build,
    },
    ArrivalDef {
        name: "ramp",
        about: "from rate `from` to rate `to`, linearly",
        fields: &["from", "to"],
        build: ramp::build,
    },
    ArrivalDef {
        name: "steps",
        about: "each of `steps` at its rate for its duration",
        fields: &["steps"],
        build: steps::build,
    },
    ArrivalDef {
        name: "burst",
        about: "`size` events at one instant, again each `every`",
        fields: &["size", "every"],
        build: burst::build,
    },
    ArrivalDef {
        name: "closed",
        about: "`workers` that each wait for the last event before the next",
        fields: &["workers"],
        build: closed::build,
    },
    ArrivalDef {
        name: "users",
        about: "virtual `users` that come at `spawn_rate`, or by `stages`, and `think` between two tasks",
        fields: &["users", "spawn_rate", "stages", "think"],
        build: users::build,
    },
];

/// A schedule over an interval that starts at 0.
#[derive(Debug, Clone, PartialEq)]
pub enum Arrival {
    /// Evenly spaced.
    Constant(Constant),
    /// Independent arrivals.
    Poisson(Poisson),
    /// A rate that changes linearly.
    Ramp(Ramp),
    /// Constant rates one after the other.
    Steps(Steps),
    /// Many at one instant.
    Burst(Burst),
    /// As fast as a number of workers can: no instant is given beforehand.
    Closed(Closed),
    /// Virtual users, each with one task at a time.
    Users(Users),
}

impl Arrival {
    /// When event `k` is due, in nanoseconds from the start of the schedule; `None` past its end, for a closed loop and for users.
    #[inline]
    pub fn due(&self, k: u64) -> Option<u64> {
        match self {
            Arrival::Constant(a) => a.due(k),
            Arrival::Poisson(a) => a.due(k),
            Arrival::Ramp(a) => a.due(k),
            Arrival::Steps(a) => a.due(k),
            Arrival::Burst(a) => a.due(k),
            Arrival::Closed(_) | Arrival::Users(_) => None,
        }
    }

    /// How many events the whole schedule holds; `None` for a closed loop and for users.
    pub fn total(&self) -> Option<u64> {
        match self {
            Arrival::Constant(a) => Some(a.total()),
            Arrival::Poisson(a) => Some(a.total()),
            Arrival::Ramp(a) => Some(a.total()),
            Arrival::Steps(a) => Some(a.total()),
            Arrival::Burst(a) => Some(a.total()),
            Arrival::Closed(_) | Arrival::Users(_) => None,
        }
    }

    /// The length of the schedule in nanoseconds.
    pub fn duration_ns(&self) -> u64 {
        match self {
            Arrival::Constant(a) => a.duration_ns,
            Arrival::Poisson(a) => a.duration_ns,
            Arrival::Ramp(a) => a.duration_ns,
            Arrival::Steps(a) => a.duration_ns(),
            Arrival::Burst(a) => a.duration_ns,
            Arrival::Closed(a) => a.duration_ns,
            Arrival::Users(a) => a.duration_ns,
        }
    }

    /// The number of workers of a closed loop.
    pub fn workers(&self) -> Option<u32> {
        match self {
            Arrival::Closed(a) => Some(a.workers),
            _ => None,
        }
    }

    /// The virtual users, where they are the load.
    pub fn users(&self) -> Option<&Users> {
        match self {
            Arrival::Users(a) => Some(a),
            _ => None,
        }
    }

    /// Whether an event waits for the one before it, so that a stall of the system slows the load down with it.
    pub fn is_closed(&self) -> bool {
        matches!(self, Arrival::Closed(_) | Arrival::Users(_))
    }

    /// The rate at the start, per second; what a warm-up runs at. `None` where there is none to speak of.
    pub fn initial_rate_per_s(&self) -> Option<f64> {
        match self {
            Arrival::Constant(a) => Some(a.rate_per_s),
            Arrival::Poisson(a) => Some(a.rate_per_s),
            Arrival::Ramp(a) => Some(a.from_per_s.max(1.0)),
            Arrival::Steps(a) => a.steps.first().map(|s| s.rate_per_s),
            Arrival::Burst(_) | Arrival::Closed(_) | Arrival::Users(_) => None,
        }
    }
}

/// A warm-up and the measured schedule after it, on one axis of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    warmup: Option<Constant>,
    warmup_ns: u64,
    main: Arrival,
    /// Stop after this many measured events.
    events: Option<u64>,
}

impl Schedule {
    /// A schedule of `main` after `warmup_ns` of its initial rate, ended after `events` measured events where given.
    pub fn new(main: Arrival, warmup_ns: u64, events: Option<u64>) -> Self {
        let warmup = match (main.initial_rate_per_s(), main.is_closed()) {
            (_, true) => None,
            (Some(rate_per_s), false) => Some(Constant {
                rate_per_s,
                duration_ns: warmup_ns,
            }),
            // A burst has no rate; a modest trickle opens connections and warms caches.
            (None, false) => Some(Constant {
                rate_per_s: 100.0,
                duration_ns: warmup_ns,
            }),
        };
        Self {
            warmup,
            warmup_ns,
            main,
            events,
        }
    }

    /// When event `k` (warm-up included) is due, from the start of the warm-up.
    #[inline]
    pub fn due(&self, k: u64) -> Option<u64> {
        let warm = self.warmup_events();
        if k < warm {
            return self.warmup.as_ref().and_then(|w| w.due(k));
        }
        let k = k - warm;
        if self.events.is_some_and(|n| k >= n) {
            return None;
        }
        self.main.due(k).map(|due| due + self.warmup_ns)
    }

    /// Events in the warm-up.
    #[inline]
    pub fn warmup_events(&self) -> u64 {
        self.warmup.as_ref().map_or(0, Constant::total)
    }

    /// All events, warm-up included; `None` for a closed loop and for users.
    pub fn total(&self) -> Option<u64> {
        let main = self.main.total()?;
        Some(self.warmup_events() + self.events.map_or(main, |n| n.min(main)))
    }

    /// Length of the warm-up in nanoseconds.
    pub fn warmup_ns(&self) -> u64 {
        self.warmup_ns
    }

    /// Length of the whole in nanoseconds.
    pub fn duration_ns(&self) -> u64 {
        self.warmup_ns + self.main.duration_ns()
    }

    /// The most measured events there may be, where a count limits them.
    pub fn events(&self) -> Option<u64> {
        self.events
    }

    /// The measured schedule.
    pub fn main(&self) -> &Arrival {
        &self.main
    }
}

/// `load.rate`, above zero.
fn rate(load: &Load) -> Result<f64, String> {
    match load.rate {
        Some(rate) if rate.0 > 0.0 => Ok(rate.0),
        Some(_) => Err("`rate` must be above zero".to_owned()),
        None => Err(format!(
            "arrival \"{}\" needs `rate`, such as rate = \"100/s\"",
            load.arrival
        )),
    }
}

/// `load.duration`, above zero, in nanoseconds.
fn duration(load: &Load) -> Result<u64, String> {
    match load.duration {
        Some(duration) if duration.ns() > 0 => Ok(duration.ns()),
        Some(_) => Err("`duration` must be above zero".to_owned()),
        None => Err(format!(
            "arrival \"{}\" needs `duration`, such as duration = \"10s\"",
            load.arrival
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shapes() -> impl Strategy<Value = Arrival> {
        let duration = 1_000_000u64..20_000_000_000;
        let rate = 0.5f64..50_000.0;
        prop_oneof![
            (rate.clone(), duration.clone()).prop_map(|(rate_per_s, duration_ns)| Arrival::Constant(Constant {
                rate_per_s,
                duration_ns
            })),
            (rate.clone(), duration.clone(), any::<u64>()).prop_map(
                |(rate_per_s, duration_ns, seed)| Arrival::Poisson(Poisson {
                    rate_per_s,
                    duration_ns,
                    seed
                })
            ),
            (rate.clone(), rate.clone(), duration.clone()).prop_map(|(from_per_s, to_per_s, duration_ns)| {
                Arrival::Ramp(Ramp {
                    from_per_s,
                    to_per_s,
                    duration_ns,
                })
            }),
            proptest::collection::vec((rate, 1_000_000u64..3_000_000_000), 1..6).prop_map(|steps| Arrival::Steps(
                Steps::new(
                    steps
                        .into_iter()
                        .map(|(rate_per_s, duration_ns)| steps::Step {
                            rate_per_s,
                            duration_ns
                        })
                        .collect()
                )
            )),
            (1u64..2_000, proptest::option::of(1_000_000u64..1_000_000_000), duration).prop_map(
                |(size, every_ns, duration_ns)| Arrival::Burst(Burst {
                    size,
                    every_ns,
                    duration_ns
                })
            ),
        ]
    }

    /// The integral of the rate over the whole schedule.
    fn integral(arrival: &Arrival) -> f64 {
        match arrival {
            Arrival::Constant(a) => a.rate_per_s * a.duration_ns as f64 / 1e9,
            Arrival::Poisson(a) => a.rate_per_s * a.duration_ns as f64 / 1e9,
            Arrival::Ramp(a) => (a.from_per_s + a.to_per_s) / 2.0 * a.duration_ns as f64 / 1e9,
            Arrival::Steps(a) => a.steps.iter().map(|s| s.rate_per_s * s.duration_ns as f64 / 1e9).sum(),
            Arrival::Burst(a) => (a.size * a.every_ns.map_or(1, |every| a.duration_ns.div_ceil(every))) as f64,
            Arrival::Closed(_) | Arrival::Users(_) => f64::NAN,
        }
    }

    proptest! {
        #[test]
        fn due_is_monotone_and_inside_the_schedule(shape in shapes(), at in 0.0f64..1.0) {
            let total = shape.total().unwrap();
            let from = (total as f64 * at) as u64;
            let mut last = 0;
            for k in from..(from + 300).min(total) {
                let due = shape.due(k).unwrap();
                prop_assert!(due >= last, "k={k}: {due} < {last}");
                prop_assert!(due <= shape.duration_ns());
                last = due;
            }
            prop_assert_eq!(shape.due(total), None);
        }

        #[test]
        fn the_count_is_the_integral_of_the_rate(shape in shapes()) {
            let total = shape.total().unwrap() as f64;
            prop_assert!((total - integral(&shape)).abs() <= 1.0 + 1e-6 * total, "{total} against {}", integral(&shape));
        }

        #[test]
        fn a_warmup_comes_first_and_is_not_counted_twice(shape in shapes(), warmup_ns in 0u64..2_000_000_000) {
            let schedule = Schedule::new(shape.clone(), warmup_ns, None);
            let warm = schedule.warmup_events();
            prop_assert_eq!(schedule.total().unwrap(), warm + shape.total().unwrap());
            if warm > 0 {
                prop_assert!(schedule.due(warm - 1).unwrap() <= warmup_ns);
            }
            if shape.total().unwrap() > 0 {
                prop_assert_eq!(schedule.due(warm).unwrap(), warmup_ns + shape.due(0).unwrap());
            }
        }
    }

    #[test]
    fn every_row_of_the_table_builds_with_its_own_fields() {
        for def in ARRIVALS {
            let text = match def.name {
                "constant" | "poisson" => r#"rate = "10/s""#,
                "ramp" => "from = \"1/s\"\nto = \"10/s\"",
                "steps" => r#"steps = [{ rate = "1/s", duration = "1s" }]"#,
                "burst" => "size = 10",
                "closed" => "workers = 2",
                "users" => "users = 2\nspawn_rate = \"1/s\"",
                other => panic!("{other} has no example in this test"),
            };
            let load: Load = toml::from_str(&format!("arrival = \"{}\"\nduration = \"1s\"\n{text}", def.name)).unwrap();
            assert!((def.build)(&load).is_ok(), "{}", def.name);
            let bare: Load = toml::from_str(&format!("arrival = \"{}\"", def.name)).unwrap();
            let error = (def.build)(&bare).unwrap_err();
            assert!(error.contains('`'), "{}: {error}", def.name);
        }
    }
}
