//! A suite file: whatever it holds, it is read, checked and resolved, or refused with a place in the file; nothing
//! panics. What is accepted makes schedules that never run backwards and payloads that are recognised again.
#![no_main]

use eventbench_core::arrival::ARRIVALS;
use eventbench_core::driver::{DriverDef, DriverError, ObserverDef, ReadyDef, Registry};
use eventbench_core::payload::{Content, Template};
use eventbench_core::plan::{Overrides, PlanErrors, Selection, Settings, SettingsError, Source, Suite, check, resolve};
use eventbench_core::stamp::Stamp;
use eventbench_core::units::Duration;
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;

/// What the drivers' settings have in common. The real ones bring brokers and databases with them, which take minutes
/// to build; these read their settings by the same means.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "reading is what is tried")]
struct Drive {
    subject: Option<String>,
    payload: Option<String>,
    #[serde(default)]
    mix: Vec<Entry>,
    socket: Option<String>,
    expect: Option<String>,
    reject: Option<String>,
    flush_every: Option<Duration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "reading is what is tried")]
struct Entry {
    name: String,
    subject: String,
    payload: String,
    weight: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "reading is what is tried")]
struct Observe {
    path: String,
    query: OneOrMany,
    expect: Option<String>,
    every: Option<Duration>,
}

#[derive(Deserialize)]
#[serde(untagged)]
#[allow(dead_code, reason = "reading is what is tried")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

fn drive(settings: &Settings) -> Result<(), SettingsError> {
    let own: Drive = settings.read()?;
    for payload in own.payload.iter().chain(own.mix.iter().map(|e| &e.payload)) {
        template(payload).map_err(|e| settings.error("payload", e))?;
    }
    Ok(())
}

fn observe(settings: &Settings) -> Result<(), SettingsError> {
    let own: Observe = settings.read()?;
    own.expect
        .as_deref()
        .map_or(Ok(()), template)
        .map_err(|e| settings.error("expect", e))
}

/// A payload that can be parsed can be rendered, and is then recognised.
fn template(text: &str) -> Result<(), String> {
    let parsed = Template::parse(text)?;
    let stamp = Stamp {
        run: 7,
        stream: 3,
        seq: u64::MAX,
        intended_ns: u64::MAX / 2,
        late_ns: 5,
    };
    let content = Content {
        stamp,
        seed: 1,
        epoch_ms: 1_700_000_000_000,
    };
    let (mut bytes, mut scratch) = (Vec::new(), Vec::new());
    parsed.render(&content, &mut bytes);
    assert!(
        parsed.matches(&content, &bytes, &mut scratch),
        "{text:?} does not recognise its own payload"
    );
    Ok(())
}

fn never(name: &str) -> DriverError {
    DriverError::new(name, "fuzzing opens nothing")
}

const fn driver(name: &'static str) -> DriverDef {
    DriverDef {
        name,
        about: "",
        check: drive,
        schema: || Default::default(),
        open: |_, _| Err(never("driver")),
    }
}

const REGISTRY: Registry = Registry {
    drivers: &[
        driver("nats"),
        driver("nats-request"),
        driver("jetstream"),
        driver("direct"),
    ],
    observers: &[ObserverDef {
        name: "sqlite",
        about: "",
        check: observe,
        schema: || Default::default(),
        open: |_, _, _| Err(never("observer")),
    }],
    ready: &[
        ReadyDef {
            name: "subject",
            about: "",
            check: |_| Ok(()),
            ask: |_, _, _, _| Ok(false),
        },
        ReadyDef {
            name: "socket",
            about: "",
            check: |_| Ok(()),
            ask: |_, _, _, _| Ok(false),
        },
    ],
};

fuzz_target!(|text: &str| {
    let source = Source {
        name: "fuzz.toml".to_owned(),
        text: text.to_owned(),
    };
    let suite = match Suite::parse(&source) {
        Ok(suite) => suite,
        Err(errors) => return places_are_in(&errors),
    };
    if let Err(errors) = check(&suite, &source, &REGISTRY) {
        return places_are_in(&errors);
    }
    let names = suite.profile.keys().map(String::as_str).chain(["standard"]);
    for profile in names {
        let Ok(plan) = resolve(&suite, &source, profile, &Selection::default(), &Overrides::default()) else {
            continue;
        };
        for benchmark in &plan.benchmarks {
            let def = ARRIVALS.iter().find(|a| a.name == benchmark.load.arrival);
            let Some(Ok(arrival)) = def.map(|d| (d.build)(&benchmark.load)) else {
                continue;
            };
            let mut last = 0;
            for k in (0..16).chain([1_000, 1_000_000, u64::from(u32::MAX)]) {
                let Some(due) = arrival.due(k) else { break };
                assert!(due >= last, "event {k} is due before the one before it");
                last = due;
            }
        }
    }
});

/// Every error says something and points into the text.
fn places_are_in(errors: &PlanErrors) {
    assert!(!errors.errors.is_empty());
    for error in &errors.errors {
        assert!(!error.message.is_empty() && error.line >= 1 && error.column >= 1);
        assert!(
            error.span.start <= error.span.end && error.span.end <= errors.source.text.len(),
            "{error:?}"
        );
    }
}
