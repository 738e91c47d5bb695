//! Units: how quantities are written in plans and limits, held inside, and shown to people.
//!
//! Inside, every quantity is a number in its base unit (nanoseconds, bytes, events per second, a ratio of one);
//! the unit travels with the metric definition, never with the number.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;

/// The base unit of a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Nanoseconds; written `250us`, `10ms`, `1s`, `5m`, `1h`.
    Nanoseconds,
    /// Bytes; written `512B`, `64KiB`, `80MB`.
    Bytes,
    /// Bytes per hour; written `50MB/h`.
    BytesPerHour,
    /// Per second; written `100/s`, `50k/s`.
    PerSecond,
    /// A ratio of one; written `95%` or `0.95`.
    Ratio,
    /// Cores of CPU; written `0.05`, `5%` (of one core) or `5pp`.
    Cores,
    /// A bare count; written `0`, `1000`, `10k`.
    Count,
}

impl Unit {
    /// How a value in this unit is written, for error messages.
    pub fn example(self) -> &'static str {
        match self {
            Unit::Nanoseconds => "a duration such as \"250us\", \"10ms\" or \"1s\"",
            Unit::Bytes => "a size such as \"512B\", \"64KiB\" or \"80MB\"",
            Unit::BytesPerHour => "a growth such as \"50MB/h\"",
            Unit::PerSecond => "a rate such as \"100/s\" or \"50k/s\"",
            Unit::Ratio => "a ratio such as \"95%\" or 0.95",
            Unit::Cores => "a share of one core such as \"5%\", \"5pp\" or 0.05",
            Unit::Count => "a number such as 0, 1000 or 10k",
        }
    }

    /// The name of the base unit, for machine-readable output.
    pub fn symbol(self) -> &'static str {
        match self {
            Unit::Nanoseconds => "ns",
            Unit::Bytes => "bytes",
            Unit::BytesPerHour => "bytes_per_hour",
            Unit::PerSecond => "per_s",
            Unit::Ratio => "ratio",
            Unit::Cores => "cores",
            Unit::Count => "count",
        }
    }

    /// Reads a quantity written for people into the base unit.
    ///
    /// # Errors
    /// Says what was expected when the number or its suffix does not fit the unit.
    pub fn parse(self, text: &str) -> Result<f64, String> {
        let text = text.trim();
        let split = text
            .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-' || c == '+' || c == '_'))
            .unwrap_or(text.len());
        let (number, suffix) = text.split_at(split);
        let wrong = || format!("\"{text}\" is not {}", self.example());
        let number: f64 = number.replace('_', "").parse().map_err(|_| wrong())?;
        if !number.is_finite() {
            return Err(wrong());
        }
        let scale = self.scale(suffix.trim()).ok_or_else(wrong)?;
        // Dividing by 100 is exact where multiplying by 0.01 is not: 95 % must be 0.95.
        Ok(if scale < 1.0 {
            number / (1.0 / scale).round()
        } else {
            number * scale
        })
    }

    fn scale(self, suffix: &str) -> Option<f64> {
        let scale = match self {
            Unit::Nanoseconds => match suffix {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" | "min" => 60e9,
                "h" => 3600e9,
                _ => return None,
            },
            Unit::Bytes => bytes_scale(suffix)?,
            Unit::BytesPerHour => {
                let (size, per) = suffix.split_once('/')?;
                let hours = match per.trim() {
                    "h" | "hour" => 1.0,
                    "m" | "min" => 60.0,
                    "s" => 3600.0,
                    _ => return None,
                };
                bytes_scale(size.trim())? * hours
            }
            Unit::PerSecond => {
                let (size, per) = suffix.split_once('/')?;
                let seconds = match per.trim() {
                    "s" | "sec" => 1.0,
                    "m" | "min" => 1.0 / 60.0,
                    "h" => 1.0 / 3600.0,
                    _ => return None,
                };
                count_scale(size.trim())? * seconds
            }
            Unit::Ratio => match suffix {
                "" => 1.0,
                "%" => 0.01,
                _ => return None,
            },
            Unit::Cores => match suffix {
                "" | "cores" | "core" => 1.0,
                "%" | "pp" => 0.01,
                _ => return None,
            },
            Unit::Count => count_scale(suffix)?,
        };
        Some(scale)
    }

    /// Shows a value in base units for people, with three significant digits and a fitting prefix.
    pub fn show(self, value: f64) -> String {
        if !value.is_finite() {
            return "–".to_owned();
        }
        let magnitude = value.abs();
        match self {
            Unit::Nanoseconds if magnitude == 0.0 => "0 µs".to_owned(),
            Unit::Nanoseconds if magnitude < 1e3 => format!("{} ns", digits(value)),
            Unit::Nanoseconds if magnitude < 999.5e3 => format!("{} µs", digits(value / 1e3)),
            Unit::Nanoseconds if magnitude < 999.5e6 => format!("{} ms", digits(value / 1e6)),
            Unit::Nanoseconds => format!("{} s", digits(value / 1e9)),
            Unit::Bytes => show_bytes(value),
            Unit::BytesPerHour => format!("{}/h", show_bytes(value)),
            Unit::PerSecond => format!("{}/s", show_count(value)),
            Unit::Ratio => format!("{} %", digits(value * 100.0)),
            Unit::Cores => format!("{} % of a core", digits(value * 100.0)),
            Unit::Count => show_count(value),
        }
    }
}

fn bytes_scale(suffix: &str) -> Option<f64> {
    Some(match suffix {
        "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "KiB" => 1024.0,
        "MiB" => 1048576.0,
        "GiB" => 1073741824.0,
        _ => return None,
    })
}

fn count_scale(suffix: &str) -> Option<f64> {
    Some(match suffix {
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        _ => return None,
    })
}

fn show_bytes(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude < 1e3 {
        format!("{} B", digits(value))
    } else if magnitude < 1e6 {
        format!("{} kB", digits(value / 1e3))
    } else if magnitude < 1e9 {
        format!("{} MB", digits(value / 1e6))
    } else {
        format!("{} GB", digits(value / 1e9))
    }
}

/// Whole numbers in full with thousands separated, fractions with three significant digits.
fn show_count(value: f64) -> String {
    if value.abs() >= 100.0 || value.fract() == 0.0 {
        let rounded = value.round();
        let text = format!("{:.0}", rounded.abs());
        let mut grouped = String::with_capacity(text.len() + text.len() / 3 + 1);
        if rounded < 0.0 {
            grouped.push('-');
        }
        for (i, c) in text.chars().enumerate() {
            if i > 0 && (text.len() - i) % 3 == 0 {
                grouped.push(',');
            }
            grouped.push(c);
        }
        grouped
    } else {
        digits(value)
    }
}

/// Three significant digits, never in exponent form.
pub fn digits(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = value.abs();
    let decimals = if magnitude >= 100.0 {
        0
    } else if magnitude >= 10.0 {
        1
    } else if magnitude >= 1.0 {
        2
    } else {
        // 0.0123 → 4 decimals; below 1e-6 the number is noise for a reader.
        ((-magnitude.log10().floor()) as usize + 2).min(9)
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $unit:expr, $schema:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
        pub struct $name(pub f64);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl serde::de::Visitor<'_> for Text {
                    type Value = f64;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($unit.example())
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<f64, E> {
                        $unit.parse(text).map_err(E::custom)
                    }
                }
                let value = deserializer.deserialize_str(Text)?;
                if value < 0.0 {
                    return Err(serde::de::Error::custom(format!("a negative value makes no sense here; expected {}", $unit.example())));
                }
                Ok(Self(value))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&write_exact($unit, self.0))
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $schema, "description": $unit.example() })
            }
        }
    };
}

quantity!(
    /// A duration as plans write it (`"10s"`), held in nanoseconds.
    Duration, Unit::Nanoseconds, r"^\s*[0-9._]+\s*(ns|us|µs|ms|s|m|min|h)\s*$"
);
quantity!(
    /// A rate as plans write it (`"100/s"`), held per second.
    Rate, Unit::PerSecond, r"^\s*[0-9._]+\s*[kM]?/(s|sec|m|min|h)\s*$"
);
quantity!(
    /// A ratio as plans write it (`"20%"`), held as a fraction of one.
    Ratio, Unit::Ratio, r"^\s*[0-9._]+\s*%?\s*$"
);

quantity!(
    /// An amount of data as plans write it (`"64MiB"`), held in bytes.
    Bytes, Unit::Bytes, r"^\s*[0-9._]+\s*([kKMG]i?)?B\s*$"
);

impl Duration {
    /// Whole nanoseconds.
    pub fn ns(self) -> u64 {
        self.0 as u64
    }
}

/// A form that [`Unit::parse`] reads back to the same number.
fn write_exact(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Nanoseconds if value % 1e9 == 0.0 => format!("{}s", value / 1e9),
        Unit::Nanoseconds if value % 1e6 == 0.0 => format!("{}ms", value / 1e6),
        Unit::Nanoseconds => format!("{value}ns"),
        Unit::PerSecond => format!("{value}/s"),
        Unit::Bytes => format!("{value}B"),
        _ => format!("{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantities_are_read_in_their_own_unit_only() {
        for (unit, text, value) in [
            (Unit::Nanoseconds, "250us", 250e3),
            (Unit::Nanoseconds, "10 ms", 10e6),
            (Unit::Nanoseconds, "1h", 3600e9),
            (Unit::Bytes, "80MB", 80e6),
            (Unit::Bytes, "64KiB", 65536.0),
            (Unit::BytesPerHour, "50MB/h", 50e6),
            (Unit::PerSecond, "50k/s", 50e3),
            (Unit::PerSecond, "120/min", 2.0),
            (Unit::Ratio, "95%", 0.95),
            (Unit::Cores, "5pp", 0.05),
            (Unit::Count, "10k", 10e3),
        ] {
            assert_eq!(unit.parse(text), Ok(value), "{text}");
        }
        for (unit, text) in [
            (Unit::Nanoseconds, "10"),
            (Unit::Nanoseconds, "10MB"),
            (Unit::Bytes, "10ms"),
            (Unit::PerSecond, "100"),
            (Unit::Ratio, "5ms"),
            (Unit::Count, "5%"),
            (Unit::Count, ""),
            (Unit::Count, "nan"),
        ] {
            assert!(unit.parse(text).is_err(), "{text} must be refused as {unit:?}");
        }
    }

    #[test]
    fn values_are_shown_with_three_digits_and_a_prefix() {
        assert_eq!(Unit::Nanoseconds.show(412_345.0), "412 µs");
        assert_eq!(Unit::Nanoseconds.show(1_234_567.0), "1.23 ms");
        assert_eq!(Unit::Bytes.show(52_310_000.0), "52.3 MB");
        assert_eq!(Unit::PerSecond.show(51_234.0), "51,234/s");
        assert_eq!(Unit::Ratio.show(1.0), "100 %");
        assert_eq!(Unit::Count.show(1234567.0), "1,234,567");
    }

    proptest! {
        #[test]
        fn a_written_duration_reads_back(ns in 0u64..10_000_000_000_000) {
            let written = Duration(ns as f64).to_string();
            prop_assert_eq!(Unit::Nanoseconds.parse(&written), Ok(ns as f64));
        }

        #[test]
        fn no_text_panics(text in ".{0,20}") {
            for unit in [Unit::Nanoseconds, Unit::Bytes, Unit::BytesPerHour, Unit::PerSecond, Unit::Ratio, Unit::Cores, Unit::Count] {
                let _ = unit.parse(&text);
            }
        }
    }
}
