//! `eventbench run`: plan → preflight → provision → drive ⇄ observe → judge → record → report.

use self::against::{alike, baselines, compare};
use self::drive::{drive, needs_server, provision};
use self::preflight::{describe, plan, preflight};
use super::open::{Wish, open};
use super::report::{Output, write_outputs};
use super::serve_metrics::{Audience, claim};
use super::{Failure, Global, baseline, error, out, stdout_color};
use crate::exit::Exit;
use crate::host::Machine;
use eventbench_core::record::RunRecord;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

mod against;
pub(super) mod args;
pub(super) mod drive;
mod github;
pub(super) mod head;
pub(super) mod preflight;

pub use args::RunArgs;

/// Runs the command.
pub fn run(args: &RunArgs, global: &Global) -> Result<Exit, Failure> {
    let plans = plan(args)?;
    if args.dry_run {
        plans.iter().for_each(|plan| out(describe(plan)));
        return Ok(Exit::Ok);
    }
    let mut history = preflight(args, global, &plans)?;
    let port = claim(&args.serving)?;
    let bases = baselines(args, global, &plans)?;
    let stop = stop_on_signals()?;
    let mut audience = Audience::open(global, port)?;
    let nats = if plans.iter().any(needs_server) {
        Some(provision(&plans, &mut audience)?)
    } else {
        None
    };
    for (plan, base) in plans.iter().zip(&bases) {
        base.iter()
            .try_for_each(|base| alike(args, plan, nats.as_ref(), base))?;
    }
    let mut exit = Exit::Ok;
    let failed = Cell::new(0u32);
    let full = || args.max_fail.is_some_and(|most| failed.get() >= most);
    let mut enough = |verdict| {
        failed.set(failed.get() + u32::from(Exit::of(verdict, args.strict) == Exit::Failed));
        let benchmarks = if failed.get() == 1 { "benchmark" } else { "benchmarks" };
        full().then(|| format!("stopped after {} failed {benchmarks} (--max-fail)", failed.get()))
    };
    for (plan, base) in plans.iter().zip(&bases) {
        let (mut record, mut ended) = drive(plan, nats.as_ref(), history.as_mut(), &stop, &mut audience, &mut enough)?;
        audience.finish();
        if let Some(base) = base {
            ended = compare(args, global, base, &mut record, history.as_mut())?.or(ended);
        }
        audience.ended(&record);
        report(args, global, &record)?;
        let own = ended.unwrap_or_else(|| Exit::of(record.verdict(), args.strict));
        exit = worse(exit, own);
        if let (Some(name), Some(history)) = (&args.save_baseline, history.as_mut())
            && let Err(refused) = baseline::save(history, name, &record, global)
        {
            error(&format!("{:?}", refused.report));
            // A run that is no baseline has failed by itself; only what went wrong beside that counts here.
            exit = worse(exit, if refused.exit == Exit::Usage { own } else { refused.exit });
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(Exit::Interrupted);
        }
        if full() {
            break;
        }
    }
    audience.linger(&args.serving, &stop);
    Ok(exit)
}

/// Prints the report and writes those asked for.
fn report(args: &RunArgs, global: &Global, record: &RunRecord) -> Result<(), Failure> {
    let to_stdout = args.output.iter().any(Output::is_stdout);
    if global.quiet < 2 && !to_stdout {
        let mut options = super::report::options(stdout_color(), global.verbose > 0);
        options.history = (!args.no_history).then(|| global.history.display().to_string());
        out(super::report::render("terminal", record, &options)?);
        if args.suites.is_empty() && global.quiet == 0 {
            out(
                "\nThis was the event-bus suite in the quick profile. More: `eventbench run --profile standard` (under 5 minutes), \
                 `eventbench run --profile soak` (an hour of memory stability), `eventbench list` (everything there is), \
                 `eventbench init my-suite.toml` (a first suite for your own system).\n",
            );
        }
    }
    github::tell(&Machine, &args.output, global.quiet, record)?;
    write_outputs(&args.output, record)?;
    let wish = Wish::of(args.open, args.open_from_terminal);
    open(wish, &args.output, record, global, !args.no_history);
    Ok(())
}

fn worse(a: Exit, b: Exit) -> Exit {
    let rank = |e: Exit| match e {
        Exit::Ok => 0,
        Exit::NoData => 1,
        Exit::Failed => 2,
        Exit::Invalid => 3,
        Exit::Environment => 4,
        Exit::Usage => 5,
        Exit::Interrupted => 6,
    };
    if rank(b) > rank(a) { b } else { a }
}

/// Sets a flag at SIGINT or SIGTERM; a second one ends the program at once, and the kernel its children.
pub(super) fn stop_on_signals() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, Exit::Interrupted as i32, stop.clone())
            .and_then(|_| signal_hook::flag::register(signal, stop.clone()))
            .map_err(|e| Failure::environment(format!("signals cannot be caught: {e}")))?;
    }
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbench_core::judge::Verdict;

    #[test]
    fn the_worst_of_several_suites_counts() {
        assert_eq!(worse(Exit::Ok, Exit::Failed), Exit::Failed);
        assert_eq!(worse(Exit::Invalid, Exit::Failed), Exit::Invalid);
        assert_eq!(Exit::of(Verdict::Pass, true), Exit::Ok);
    }
}
