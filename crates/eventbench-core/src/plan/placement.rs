//! `placement`: which cores broker, services and instrument are kept to. Moving between cores, and cores that fall asleep,
//! are the larger part of the noise of short latencies.

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What a suite says of placement.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum PlacementSetting {
    /// By name.
    Named(PlacementName),
    /// By core lists.
    Cores(Placement),
}

/// A placement by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlacementName {
    /// The kernel chooses.
    Free,
    /// Roles are spread over the cores that the tool may use, and the cores are kept awake.
    Pinned,
}

/// Core numbers a role; an empty list leaves the choice to the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    /// The broker's nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broker: Vec<usize>,
    /// The services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<usize>,
    /// The instrument: lanes, observers, probes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instrument: Vec<usize>,
    /// Whether an idle-priority process keeps these cores from falling asleep.
    #[serde(default)]
    pub awake: bool,
}

/// What may stand for a placement, in words.
const FORMS: &str = "\"free\", \"pinned\", or core lists such as { broker = [0], services = [1], instrument = [1] }";
/// The same as a flag takes it.
const FLAG_FORMS: &str = "free, pinned, or core lists such as broker=0,services=1,instrument=1,awake";

impl Default for PlacementSetting {
    fn default() -> Self {
        Self::Named(PlacementName::Free)
    }
}

impl PlacementSetting {
    /// Whether the kernel chooses.
    pub fn is_free(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses what makes sense on no machine.
    ///
    /// # Errors
    /// Says what is wrong and what to write instead.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Named(_) => Ok(()),
            Self::Cores(placement) => placement.check(),
        }
    }
}

impl Placement {
    /// The roles by name, with their cores.
    pub fn roles(&self) -> [(&'static str, &[usize]); 3] {
        [
            ("broker", &self.broker),
            ("services", &self.services),
            ("instrument", &self.instrument),
        ]
    }

    /// Every core that a role is kept to, each once, in ascending order.
    pub fn cores(&self) -> Vec<usize> {
        let mut all: Vec<usize> = self
            .roles()
            .iter()
            .flat_map(|(_, cores)| cores.iter().copied())
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn check(&self) -> Result<(), String> {
        if self.cores().is_empty() {
            // Without pinning the kernel moves what it measures away from the spinner: runs then differ by half.
            return Err(if self.awake {
                "placement: `awake` without a role kept to its cores makes figures unsteadier, not steadier; \
                 name cores for `broker`, `services` or `instrument`, or write \"pinned\""
                    .to_owned()
            } else {
                "placement: no role is kept to any core; name cores for `broker`, `services` or `instrument`, \
                 or write \"free\" or \"pinned\""
                    .to_owned()
            });
        }
        for (role, cores) in self.roles() {
            if let Some(twice) = cores.iter().enumerate().find(|(at, core)| cores[..*at].contains(core)) {
                return Err(format!("placement: {role} names core {} twice", twice.1));
            }
        }
        Ok(())
    }
}

/// As the flag writes it, so that what is shown can be given again.
impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (role, cores) in self.roles() {
            if !cores.is_empty() {
                let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
                write!(f, "{comma}{role}={}", cores.join("+"))?;
                comma = ",";
            }
        }
        if self.awake {
            write!(f, "{comma}awake")?;
        }
        Ok(())
    }
}

impl fmt::Display for PlacementSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(PlacementName::Free) => f.write_str("free"),
            Self::Named(PlacementName::Pinned) => f.write_str("pinned"),
            Self::Cores(placement) => placement.fmt(f),
        }
    }
}

impl FromStr for PlacementSetting {
    type Err = String;

    /// Reads `free`, `pinned`, or `broker=0,services=1,instrument=1+2,awake`; a range of cores is written `0-3`.
    fn from_str(text: &str) -> Result<Self, String> {
        let setting = match text {
            "free" => Self::Named(PlacementName::Free),
            "pinned" => Self::Named(PlacementName::Pinned),
            _ => Self::Cores(core_lists(text)?),
        };
        setting.check()?;
        Ok(setting)
    }
}

fn core_lists(text: &str) -> Result<Placement, String> {
    let mut placement = Placement::default();
    for part in text.split(',') {
        let Some((role, cores)) = part.split_once('=') else {
            if part == "awake" {
                placement.awake = true;
                continue;
            }
            return Err(format!("\"{part}\" is no placement; expected {FLAG_FORMS}"));
        };
        let list = match role {
            "broker" => &mut placement.broker,
            "services" => &mut placement.services,
            "instrument" => &mut placement.instrument,
            _ => {
                return Err(format!(
                    "there is no role \"{role}\", only broker, services and instrument"
                ));
            }
        };
        for piece in cores.split('+') {
            list.extend(
                core_range(piece)
                    .ok_or_else(|| format!("{role}: \"{piece}\" is no core number, nor a range of them such as 0-3"))?,
            );
        }
    }
    Ok(placement)
}

/// The highest core number that is believed; kernels are built for fewer.
const MOST_CORES: usize = 65_536;

fn core_range(text: &str) -> Option<std::ops::RangeInclusive<usize>> {
    let number = |text: &str| text.parse::<usize>().ok().filter(|n| *n < MOST_CORES);
    match text.split_once('-') {
        None => number(text).map(|n| n..=n),
        Some((first, last)) => Some(number(first)?..=number(last)?).filter(|range| !range.is_empty()),
    }
}

impl<'de> Deserialize<'de> for PlacementSetting {
    // Not derived: an untagged enum could only say that no variant fits.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;
        impl<'de> Visitor<'de> for Forms {
            type Value = PlacementSetting;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(FORMS)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<PlacementSetting, E> {
                match text {
                    "free" => Ok(PlacementSetting::Named(PlacementName::Free)),
                    "pinned" => Ok(PlacementSetting::Named(PlacementName::Pinned)),
                    other => Err(E::custom(format!("unknown placement \"{other}\", expected {FORMS}"))),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PlacementSetting, A::Error> {
                Placement::deserialize(MapAccessDeserializer::new(map)).map(PlacementSetting::Cores)
            }
        }
        deserializer.deserialize_any(Forms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(broker: &[usize], services: &[usize], instrument: &[usize], awake: bool) -> PlacementSetting {
        PlacementSetting::Cores(Placement {
            broker: broker.to_vec(),
            services: services.to_vec(),
            instrument: instrument.to_vec(),
            awake,
        })
    }

    #[test]
    fn a_flag_is_read_and_written_back() {
        for (text, expected) in [
            ("free", PlacementSetting::Named(PlacementName::Free)),
            ("pinned", PlacementSetting::Named(PlacementName::Pinned)),
            ("broker=0,services=1,instrument=1,awake", lists(&[0], &[1], &[1], true)),
            ("broker=0+2+5", lists(&[0, 2, 5], &[], &[], false)),
            ("services=3,awake", lists(&[], &[3], &[], true)),
        ] {
            let setting: PlacementSetting = text.parse().unwrap();
            assert_eq!(setting, expected);
            assert_eq!(setting.to_string(), text);
        }
        assert_eq!("instrument=1-3+7".parse(), Ok(lists(&[], &[], &[1, 2, 3, 7], false)));
    }

    #[test]
    fn a_flag_that_means_nothing_is_refused_with_what_it_could_be() {
        for (text, says) in [
            ("", "expected free, pinned"),
            ("pined", "expected free, pinned"),
            ("broker=0,", "expected free, pinned"),
            ("brokers=0", "no role \"brokers\""),
            ("broker=", "no core number"),
            ("broker=a", "no core number"),
            ("broker=-1", "no core number"),
            ("broker=3-1", "no core number"),
            ("broker=0-99999999999", "no core number"),
            ("broker=0+0", "broker names core 0 twice"),
            ("awake", "unsteadier"),
        ] {
            let refused = text.parse::<PlacementSetting>().unwrap_err();
            assert!(refused.contains(says), "{text}: {refused}");
        }
    }

    #[test]
    fn cores_are_those_of_all_roles_each_once() {
        let PlacementSetting::Cores(placement) = lists(&[3, 0], &[1], &[1, 0], false) else {
            unreachable!()
        };
        assert_eq!(placement.cores(), [0, 1, 3]);
    }

    #[test]
    fn json_is_read_as_it_is_written() {
        for setting in [
            PlacementSetting::default(),
            PlacementSetting::Named(PlacementName::Pinned),
            lists(&[0], &[1], &[], true),
        ] {
            let json = serde_json::to_string(&setting).unwrap();
            assert_eq!(
                serde_json::from_str::<PlacementSetting>(&json).unwrap(),
                setting,
                "{json}"
            );
        }
    }
}
