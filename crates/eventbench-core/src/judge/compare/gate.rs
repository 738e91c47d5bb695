//! Which figures decide: those that the user names, else the suite's, else three that are as a rule steady enough.

use super::fail_on::figure_name;
use crate::metric::{Better, MetricKey, Statistic, definition};

/// The most figures that may decide: each further one is a further chance of a false alarm.
pub const MOST_GATES: usize = 3;

/// What decides where nobody says anything else. The median and the 95th percentile are steady from trial to trial where
/// the 99th is not, and CPU time for each event tells a regression that a fast machine hides.
const DEFAULT: [&str; MOST_GATES] = [
    "response_time p(50)",
    "response_time p(95)",
    "cpu.per_event{process:system} value",
];

/// A figure that decides.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    /// The metric with its tags.
    pub key: MetricKey,
    /// What is asked of it.
    pub statistic: Statistic,
}

impl Gate {
    /// Reads "response_time p(50)", "cpu.per_event{process:system}" or a bare statistic of the response time.
    ///
    /// # Errors
    /// Says what was expected, and refuses what has no better direction.
    pub fn parse(text: &str) -> Result<Gate, String> {
        let wrong = |what: String| format!("gate \"{}\": {what}", text.trim());
        let (key, statistic) = figure_name(text).map_err(wrong)?;
        if definition(&key.metric).is_none_or(|m| m.better == Better::Neutral) {
            return Err(wrong(format!(
                "neither more nor less of `{}` is better, so it cannot decide",
                key.metric
            )));
        }
        Ok(Gate { key, statistic })
    }
}

/// The figures that decide in a suite: its own, and whether it names any, else the default ones.
pub fn suite_gates(plan: &serde_json::Value) -> (Vec<Gate>, bool) {
    let gates = Gates::of(&[], plan);
    (gates.list, gates.explicit)
}

/// The gates of a comparison.
pub(super) struct Gates {
    /// Those that were understood, three at most.
    pub(super) list: Vec<Gate>,
    /// Whether somebody asked for them, so that their absence is no data.
    pub(super) explicit: bool,
    /// What was not understood or left out, in words.
    pub(super) refused: Vec<String>,
}

impl Gates {
    /// The gates of the first list that has any: the options', the suite's.
    pub(super) fn of(options: &[String], plan: &serde_json::Value) -> Gates {
        let suite: Vec<String> = plan["suite"]["gate"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|g| g.as_str().map(str::to_owned))
            .collect();
        let asked = if options.is_empty() { suite } else { options.to_vec() };
        let explicit = !asked.is_empty();
        let names: Vec<String> = if explicit {
            asked
        } else {
            DEFAULT.iter().map(|s| (*s).to_owned()).collect()
        };
        let mut gates = Gates {
            list: Vec::new(),
            explicit,
            refused: Vec::new(),
        };
        for name in names {
            match Gate::parse(&name) {
                Ok(gate) if gates.list.contains(&gate) => {}
                Ok(_) if gates.list.len() == MOST_GATES => gates.refused.push(format!(
                    "gate \"{name}\" is left out: {MOST_GATES} figures decide at most, since each is a chance of a false alarm"
                )),
                Ok(gate) => gates.list.push(gate),
                Err(why) => gates.refused.push(why),
            }
        }
        gates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_list_that_has_any_counts() {
        let plan = serde_json::json!({ "suite": { "gate": ["delivered.rate value"] } });
        let of = |options: &[&str], plan: &serde_json::Value| {
            let options: Vec<String> = options.iter().map(|s| (*s).to_owned()).collect();
            let gates = Gates::of(&options, plan);
            assert!(gates.refused.is_empty(), "{:?}", gates.refused);
            let names = gates.list.iter().map(|g| format!("{} {}", g.key, g.statistic));
            (names.collect::<Vec<_>>().join("; "), gates.explicit)
        };
        assert_eq!(
            of(&["p(99)", "rss{process=store} max"], &plan),
            ("response_time p(99); rss{process:store} max".to_owned(), true)
        );
        assert_eq!(of(&[], &plan), ("delivered.rate value".to_owned(), true));
        assert_eq!(
            of(&[], &serde_json::Value::Null),
            (
                "response_time p(50); response_time p(95); cpu.per_event{process:system} value".to_owned(),
                false
            )
        );
    }

    #[test]
    fn what_cannot_decide_is_refused() {
        for (text, says) in [
            ("offered value", "cannot decide"),
            ("response_tim p(50)", "did you mean"),
            ("", "unknown metric"),
            ("lost p(50)", "counter"),
        ] {
            let error = Gate::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        let four = ["p(50)", "p(95)", "p(99)", "mean"].map(str::to_owned);
        let gates = Gates::of(&four, &serde_json::Value::Null);
        assert_eq!((gates.list.len(), gates.refused.len()), (3, 1));
    }
}
