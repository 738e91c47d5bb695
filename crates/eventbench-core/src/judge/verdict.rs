//! Verdicts, in the order in which they outweigh each other.

use serde::{Deserialize, Serialize};

/// What a run, a benchmark or a limit comes to. A whole's verdict is the highest of its parts'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything that was asked for holds.
    #[default]
    Pass,
    /// A limit was missed by little, or one that should hold was missed.
    Warn,
    /// There is nothing to judge by; never a pass.
    NoData,
    /// A limit that must hold does not.
    Fail,
    /// The instrument cannot be trusted: its figures say nothing about the system.
    Invalid,
}

impl Verdict {
    /// The word that reports use.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "PASS",
            Verdict::Warn => "WARN",
            Verdict::NoData => "NO DATA",
            Verdict::Fail => "FAIL",
            Verdict::Invalid => "INVALID",
        }
    }

    /// The highest of several; a pass when there are none.
    pub fn highest(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
        verdicts.into_iter().max().unwrap_or(Verdict::Pass)
    }
}
