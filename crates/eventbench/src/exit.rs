//! The one table of exit codes.

use eventbench_core::judge::Verdict;
use std::process::ExitCode;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Pass, or warnings without `--strict`.
    Ok = 0,
    /// A limit or a comparison failed, or there is a warning under `--strict`.
    Failed = 1,
    /// The command line or the plan is wrong.
    Usage = 2,
    /// The environment: no broker, a service that does not start, a file that cannot be written.
    Environment = 3,
    /// Nothing to judge by.
    NoData = 4,
    /// The instrument cannot be trusted.
    Invalid = 5,
    /// The user stopped it; what was measured is kept.
    Interrupted = 130,
}

/// The table as `--help` shows it.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  pass, or warnings without --strict
  1  a limit failed, or something is worse than what it is compared with (or a warning with --strict)
  2  the command line or the plan is wrong
  3  the environment: no broker, a service that does not start, a file that cannot be written
  4  no data to judge by
  5  invalid: the instrument could not be trusted
  130  interrupted; what was measured is kept";

impl Exit {
    /// What a verdict ends with.
    pub fn of(verdict: Verdict, strict: bool) -> Exit {
        match verdict {
            Verdict::Pass => Exit::Ok,
            Verdict::Warn if strict => Exit::Failed,
            Verdict::Warn => Exit::Ok,
            Verdict::NoData => Exit::NoData,
            Verdict::Fail => Exit::Failed,
            Verdict::Invalid => Exit::Invalid,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_has_its_code_and_the_help_tells_of_all() {
        for (verdict, strict, code) in [
            (Verdict::Pass, true, 0),
            (Verdict::Warn, false, 0),
            (Verdict::Warn, true, 1),
            (Verdict::Fail, false, 1),
            (Verdict::NoData, false, 4),
            (Verdict::Invalid, false, 5),
        ] {
            assert_eq!(Exit::of(verdict, strict) as u8, code);
            assert!(EXIT_CODES.contains(&format!("\n  {code}  ")));
        }
    }
}
