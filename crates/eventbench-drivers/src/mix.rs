//! What is published: one subject and payload, or several in given proportions. Shared by everything that publishes.

use eventbench_core::payload::Template;
use eventbench_core::plan::{Settings, SettingsError};
use eventbench_core::trial::StreamSpec;
use schemars::JsonSchema;
use serde::Deserialize;

/// One kind of event of a mix.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MixEntry {
    /// The name under which its books are kept.
    pub name: String,
    /// Its subject.
    pub subject: String,
    /// Its payload template.
    pub payload: String,
    /// Its share: of the sum of all weights; 1 if absent.
    #[serde(default = "one")]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

/// A checked mix: entries, and in which order they follow each other.
#[derive(Debug, Clone)]
pub struct Mix {
    entries: Vec<Entry>,
    /// Which entry each stream of a connection belongs to.
    slots: Vec<u16>,
    connections: u32,
}

/// One subject with its payload.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its subject.
    pub subject: Vec<u8>,
    /// Its payload.
    pub template: Template,
}

/// Where a stream's events come from and go to, looked up rather than computed.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// Its entry.
    pub entry: u16,
    /// Its connection among those of its lane.
    pub link: u16,
}

impl Mix {
    /// Reads `subject` and `payload`, or `mix`, of a driver's settings.
    pub fn read(
        settings: &Settings,
        subject: Option<&str>,
        payload: Option<&str>,
        mix: &[MixEntry],
    ) -> Result<Mix, SettingsError> {
        let single;
        let list: &[MixEntry] = match (subject, payload) {
            (Some(subject), Some(payload)) if mix.is_empty() => {
                single = [MixEntry {
                    name: "all".to_owned(),
                    subject: subject.to_owned(),
                    payload: payload.to_owned(),
                    weight: 1,
                }];
                &single
            }
            (None, None) if !mix.is_empty() => mix,
            _ => {
                return Err(settings.error(
                    "mix",
                    "expected `subject` and `payload`, or `mix` with a list of { name, subject, payload, weight }",
                ));
            }
        };
        let key = if mix.is_empty() { "payload" } else { "mix" };
        let mut entries = Vec::new();
        for entry in list {
            if !crate::wire::encode::is_subject(entry.subject.as_bytes()) {
                let key = if mix.is_empty() { "subject" } else { "mix" };
                return Err(settings.error(
                    key,
                    format!(
                        "\"{}\" is not a subject to publish to: no spaces, no empty parts",
                        entry.subject.escape_debug()
                    ),
                ));
            }
            if entry.weight == 0 || entry.weight > 1000 {
                return Err(settings.error(
                    key,
                    format!("\"{}\": the weight must lie between 1 and 1000", entry.name),
                ));
            }
            let template = Template::parse(&entry.payload).map_err(|e| settings.error(key, e))?;
            entries.push(Entry {
                name: entry.name.clone(),
                subject: entry.subject.as_bytes().to_vec(),
                template,
            });
        }
        let slots = spread(&list.iter().map(|e| e.weight).collect::<Vec<_>>());
        Ok(Mix {
            entries,
            slots,
            connections: 1,
        })
    }

    /// The same mix over a number of connections.
    pub fn over(mut self, connections: u32) -> Mix {
        self.connections = connections;
        self
    }

    /// The streams: for each slot of the mix one on each connection, connections running fastest.
    pub fn streams(&self) -> Vec<StreamSpec> {
        (0..self.slots.len() as u32 * self.connections)
            .map(|s| StreamSpec {
                name: self.entry(s).name.clone(),
            })
            .collect()
    }

    /// What a stream sends.
    #[inline]
    pub fn entry(&self, stream: u32) -> &Entry {
        &self.entries[usize::from(self.slots[(stream / self.connections) as usize])]
    }

    /// For each stream the index of its entry and of its connection among those of its lane.
    pub fn routes(&self, lanes: u32) -> Vec<Route> {
        (0..self.slots.len() as u32 * self.connections)
            .map(|s| Route {
                entry: self.slots[(s / self.connections) as usize],
                link: (self.connection(s) / lanes) as u16,
            })
            .collect()
    }

    /// An entry by its index.
    #[inline]
    pub fn by_index(&self, index: u16) -> &Entry {
        &self.entries[usize::from(index)]
    }

    /// The connection of a stream.
    #[inline]
    pub fn connection(&self, stream: u32) -> u32 {
        stream % self.connections
    }
}

/// An order of entries in which each comes as often as its weight says, as evenly as possible (Bresenham's way).
pub fn spread(weights: &[u32]) -> Vec<u16> {
    let total: u32 = weights.iter().sum();
    let mut owed: Vec<i64> = vec![0; weights.len()];
    let mut order = Vec::with_capacity(total as usize);
    for _ in 0..total {
        for (debt, weight) in owed.iter_mut().zip(weights) {
            *debt += i64::from(*weight);
        }
        let most = owed
            .iter()
            .enumerate()
            .max_by_key(|(i, debt)| (**debt, usize::MAX - i))
            .map_or(0, |(i, _)| i);
        if let Some(debt) = owed.get_mut(most) {
            *debt -= i64::from(total);
        }
        order.push(most as u16);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_kept_and_spread() {
        let order = spread(&[3, 1, 2]);
        assert_eq!(order.len(), 6);
        for (entry, weight) in [(0, 3), (1, 1), (2, 2)] {
            assert_eq!(order.iter().filter(|e| **e == entry).count(), weight);
        }
        assert!(order.windows(2).all(|w| w[0] != w[1]), "{order:?}");
    }

    #[test]
    fn streams_run_over_connections_first() {
        let settings = Settings::from_table(Default::default());
        let entry = |name: &str| MixEntry {
            name: name.into(),
            subject: "a.b".into(),
            payload: "{stamp}".into(),
            weight: 1,
        };
        let mix = Mix::read(&settings, None, None, &[entry("x"), entry("y")])
            .unwrap()
            .over(3);
        let names: Vec<_> = mix.streams().into_iter().map(|s| s.name).collect();
        assert_eq!(names, ["x", "x", "x", "y", "y", "y"]);
        assert_eq!(
            (0..6).map(|s| mix.connection(s)).collect::<Vec<_>>(),
            [0, 1, 2, 0, 1, 2]
        );
    }
}
