//! Live progress on standard error: a line that moves on a terminal, plain lines elsewhere.

use super::{error, stderr_is_terminal};
use eventbench_core::event::{Event, Sink};
use eventbench_core::judge::Verdict;
use eventbench_core::units::Unit;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What the display knows.
pub struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    benchmarks: usize,
    number: usize,
    name: String,
    trial: u32,
    trials: u32,
    trial_s: f64,
    run_left_s: f64,
}

impl Progress {
    /// A display that says less the higher `quiet` is.
    pub fn new(quiet: u8) -> Self {
        let bar = (quiet == 0 && stderr_is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self {
            bar,
            quiet: quiet > 0,
            benchmarks: 0,
            number: 0,
            name: String::new(),
            trial: 0,
            trials: 0,
            trial_s: 0.0,
            run_left_s: 0.0,
        }
    }

    /// Takes the moving line away.
    pub fn finish(&mut self) {
        if let Some(bar) = &self.bar {
            bar.set_message(String::new());
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        if self.quiet {
            return;
        }
        match &self.bar {
            Some(bar) => bar.suspend(|| error(text)),
            None => error(text),
        }
    }

    fn moving(&self, text: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(text);
            bar.tick();
        }
    }
}

impl Sink for Progress {
    fn hear(&mut self, event: Event) {
        match event {
            Event::Preparing(what) => {
                if self.bar.is_some() {
                    self.moving(what);
                } else {
                    self.line(&what);
                }
            }
            Event::RunStarted {
                run,
                suite,
                profile,
                benchmarks,
                expected_s,
                ..
            } => {
                self.benchmarks = benchmarks;
                self.run_left_s = expected_s;
                self.line(&format!(
                    "{suite} ({profile}): {benchmarks} benchmarks, about {expected_s:.0} s · run {run}"
                ));
            }
            Event::BenchmarkStarted {
                number,
                name,
                load,
                trials,
            } => {
                self.number = number;
                self.trials = trials;
                self.moving(format!("[{number}/{}] {name}: {load}", self.benchmarks));
                self.name = name;
            }
            Event::TrialStarted {
                number,
                variant,
                expected_s,
            } => {
                self.trial = number;
                self.run_left_s = (self.run_left_s - self.trial_s).max(0.0);
                self.trial_s = expected_s + 0.4;
                if !variant.is_empty() {
                    self.moving(format!(
                        "[{}/{}] {} ({variant}) trial {number}/{}",
                        self.number, self.benchmarks, self.name, self.trials
                    ));
                }
            }
            Event::Tick {
                elapsed_s,
                sent_per_s,
                done_per_s,
                p99_ns,
                open,
                ..
            } => {
                let p99 = if p99_ns > 0 {
                    format!(" · p99 {}", Unit::Nanoseconds.show(p99_ns as f64))
                } else {
                    String::new()
                };
                let left = (self.run_left_s - elapsed_s).max(0.0);
                self.moving(format!(
                    "[{}/{}] {} trial {}/{} · sent {} · done {}{p99} · open {open} · {left:.0} s left",
                    self.number,
                    self.benchmarks,
                    self.name,
                    self.trial,
                    self.trials,
                    Unit::PerSecond.show(sent_per_s.round()),
                    Unit::PerSecond.show(done_per_s.round()),
                ));
            }
            Event::Marked(what) => self.moving(format!("[{}/{}] {}: {what}", self.number, self.benchmarks, self.name)),
            Event::BenchmarkFinished {
                name, verdict, summary, ..
            } => {
                let word = verdict.word();
                let painted = match verdict {
                    Verdict::Pass => console::style(word).green(),
                    Verdict::Warn => console::style(word).yellow(),
                    _ => console::style(word).red(),
                };
                self.line(&format!(
                    "  {:<8} {name:<28} {summary}",
                    painted.for_stderr().to_string() + &" ".repeat(8usize.saturating_sub(word.len()))
                ));
            }
            Event::Note(text) => self.line(&format!("note: {text}")),
        }
    }
}
