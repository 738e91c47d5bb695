//! `eventbench calibrate`: A against A, and so the smallest change that can be seen on this machine.

mod passport;

use self::passport::{Passport, ask, shown};
use super::compare::margin;
use super::duel::{Common, Fought, Variant, fight, place};
use super::progress::Progress;
use super::run::args::duration;
use super::run::head::head;
use super::run::stop_on_signals;
use super::settings::Setting;
use super::{Failure, Global, error, out};
use crate::exit::Exit;
use crate::host::Machine;
use clap::Args;
use eventbench_core::host::Host as _;
use eventbench_core::judge::compare::machine_key;
use eventbench_core::plan::{Overrides, PlacementSetting, Selection};
use eventbench_core::record::RunHead;
use eventbench_core::units::Duration;
use eventbench_store::History;
use std::sync::atomic::Ordering;

/// Arguments of `calibrate`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CalibrateArgs {
    /// A suite by name, or a suite file
    #[arg(value_name = "SUITE|FILE", default_value = "event-bus")]
    suite: String,
    /// Only these benchmarks: a name, a tag, a category or a requirement id, with * and ?; may be given again
    #[arg(long, value_name = "NAME|TAG")]
    only: Vec<String>,
    /// None of these
    #[arg(long, value_name = "NAME|TAG")]
    skip: Vec<String>,
    /// How much of the suite: quick, standard, soak, or one of the suite's own
    #[arg(long, value_name = "PROFILE", default_value = "quick")]
    profile: String,
    /// Pairs of trials
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(5..))]
    pairs: u32,
    /// Another duration for every benchmark
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    duration: Option<Duration>,
    /// Which cores each role is kept to: pinned (the default, where the machine allows it), free, or core lists
    #[arg(long, value_name = "CORES")]
    placement: Option<PlacementSetting>,
    /// Another seed for payloads, random arrivals and the order within pairs
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Another value for anything in the suite file; may be given again
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Setting>,
    /// Run nothing; tell how many pairs and minutes it takes to see a change of this size
    #[arg(long, value_name = "PERCENT", value_parser = margin, conflicts_with = "list")]
    plan: Option<f64>,
    /// Run nothing; show what is known of this machine
    #[arg(long)]
    list: bool,
}

const EXAMPLES: &str = "\
Examples:
  eventbench calibrate --only EB-1            20 pairs of the same: what does noise look like here?
  eventbench calibrate --only EB-1 --plan 3%  how many pairs and minutes to see a change of 3 %?
  eventbench calibrate --list                 what is known of this machine, of all suites

What is found is kept in the history for this machine, its placement and the suite. From then on every
comparison says which change is too small to be seen, and does not call a smaller one. Calibrate while
the machine is as busy as it will be when it measures. The newest 20 calibrations count.

Exit codes: 0; 4 when nothing is known yet (--plan, --list) or a benchmark gave nothing to know; 130
when interrupted.";

/// Runs the command.
pub fn run(args: &CalibrateArgs, global: &Global) -> Result<Exit, Failure> {
    let common = Common {
        suite: &args.suite,
        profile: &args.profile,
        selection: Selection {
            only: args.only.clone(),
            skip: args.skip.clone(),
        },
        overrides: Overrides {
            duration: args.duration,
            trials: Some(args.pairs),
            seed: args.seed,
            placement: args.placement.clone(),
            ..Overrides::default()
        },
        settings: &args.set,
    };
    let variant = Variant::new(&common, &[], Some("a"))?;
    let mut variants = [variant.clone(), variant];
    "b".clone_into(&mut variants[1].label);
    if args.plan.is_some() || args.list {
        place(&mut variants, args.placement.is_some(), &mut Progress::new(2))?;
        return answer(args, global, &variants[0]);
    }
    let mut history = History::open(&global.history).map_err(Failure::environment)?;
    let stop = stop_on_signals()?;
    let mut progress = Progress::new(global.quiet);
    place(&mut variants, args.placement.is_some(), &mut progress)?;
    variants[0].provide(&mut progress)?;
    let [first, second] = &mut variants;
    second.nats.clone_from(&first.nats);
    // Both records say the same of the same, so the history keeps what is new in them: the noise.
    let Fought { a, b, pair_s, exit } = fight(&variants, args.pairs, None, &stop, &mut progress)?;
    progress.finish();
    let at_unix_ms = Machine.wall_unix_ms();
    let (found, complaints) = passport::found(&a, &b, &pair_s, at_unix_ms);
    for complaint in &complaints {
        error(complaint);
    }
    if found.is_empty() {
        error("no pair can be used, so nothing is known; the history is as before");
        return Ok(exit.unwrap_or(if stop.load(Ordering::Relaxed) {
            Exit::Interrupted
        } else {
            Exit::NoData
        }));
    }
    let machine = machine_key(&a.run);
    for passport in &found {
        for session in &passport.noise.sessions {
            history
                .add_noise(&machine, &passport.id, session)
                .map_err(Failure::environment)?;
        }
    }
    // Shown with what earlier calibrations have found, as comparisons will use it.
    let book = history.noise(&machine).map_err(Failure::environment)?;
    let known: Vec<Passport> = found.iter().map(|p| p.with(&book)).collect();
    if global.quiet < 2 {
        out(shown(&known, global.verbose > 0, &where_it_holds(&a.run)));
    }
    if stop.load(Ordering::Relaxed) {
        return Ok(Exit::Interrupted);
    }
    let whole = if complaints.is_empty() { Exit::Ok } else { Exit::NoData };
    Ok(exit.unwrap_or(whole))
}

/// What the passport belongs to, in words.
fn where_it_holds(run: &RunHead) -> String {
    let placement = run
        .placement
        .as_ref()
        .map_or_else(|| "free".to_owned(), ToString::to_string);
    format!(
        "{}, {} cores; placement {placement}",
        run.environment.cpu, run.environment.cores
    )
}

/// Answers from what is stored.
fn answer(args: &CalibrateArgs, global: &Global, variant: &Variant) -> Result<Exit, Failure> {
    let run = head(&variant.plan, None);
    let book = match History::open_existing(&global.history) {
        Ok(history) => history.noise(&machine_key(&run)).map_err(Failure::environment)?,
        Err(eventbench_store::HistoryError::Missing { .. }) => Default::default(),
        Err(e) => return Err(Failure::environment(e)),
    };
    let holds = where_it_holds(&run);
    let Some(effect) = args.plan else {
        let all: Vec<Passport> = book.into_iter().map(|(id, noise)| Passport::known(id, noise)).collect();
        if all.is_empty() {
            error(&format!(
                "nothing is known of this machine yet ({holds}); run `eventbench calibrate`"
            ));
            return Ok(Exit::NoData);
        }
        out(shown(&all, global.verbose > 0, &holds));
        return Ok(Exit::Ok);
    };
    let wanted: Vec<&str> = run.planned.iter().map(String::as_str).collect();
    let known: Vec<Passport> = book
        .into_iter()
        .filter(|(id, _)| id.suite == run.suite && wanted.contains(&id.benchmark.as_str()))
        .map(|(id, noise)| Passport::known(id, noise))
        .collect();
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|name| !known.iter().any(|p| p.id.benchmark == **name))
        .copied()
        .collect();
    if !known.is_empty() {
        out(ask(&known, effect, global.verbose > 0, &holds));
    }
    if missing.is_empty() {
        return Ok(Exit::Ok);
    }
    error(&format!(
        "the noise of {} is not known on this machine ({holds}); calibrate first: eventbench calibrate {} {}",
        missing.join(", "),
        args.suite,
        missing
            .iter()
            .map(|name| format!("--only {name}"))
            .collect::<Vec<_>>()
            .join(" ")
    ));
    Ok(Exit::NoData)
}
