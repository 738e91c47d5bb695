//! Durations of files, checked while they are read, so that the error knows the line.

use serde::{Deserialize, Deserializer, de};

/// No operation that is measured takes longer, in seconds: one week. The squares of all times still fit their sum.
const LONGEST_S: f64 = 7.0 * 86_400.0;

/// A duration that the file gives in seconds, held in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(crate) struct FromSeconds(pub f64);

/// A duration that the file gives in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(crate) struct FromNanoseconds(pub f64);

fn checked<E: de::Error>(ns: f64) -> Result<f64, E> {
    if (0.0..=LONGEST_S * 1e9).contains(&ns) {
        // A zero has no sign, so that it is written in one way.
        Ok(ns + 0.0)
    } else {
        Err(E::custom(format!(
            "a duration of {} s; expected 0 s to one week",
            ns / 1e9
        )))
    }
}

impl<'de> Deserialize<'de> for FromSeconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        checked(f64::deserialize(deserializer)? * 1e9).map(Self)
    }
}

impl<'de> Deserialize<'de> for FromNanoseconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        checked(f64::deserialize(deserializer)?).map(Self)
    }
}
