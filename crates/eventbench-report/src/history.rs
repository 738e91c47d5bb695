//! Trends for a terminal: a line of blocks for each figure, its newest value against those before it, and every move of
//! its level in words, with the run and the commit since which it holds.

use crate::RenderOptions;
use crate::chart::Ink;
use crate::text::{ascii, date, printable, utc, wrap};
use eventbench_core::judge::series::RunSeries;
use eventbench_core::judge::statistics::median;
use eventbench_core::judge::trend::{Direction, Trend, TrendChange, TrendPoint};
use eventbench_core::units::{Unit, digits};

/// Columns of a line of blocks, at most and at least.
const LINE: (usize, usize) = (60, 10);
/// Letters of a commit's id.
const COMMIT: usize = 10;
const RED: &str = "31";
const GREEN: &str = "32";
const BOLD: &str = "1";

/// A series of runs by benchmark: of each the figure that decides first.
pub fn overview(series: &RunSeries, trends: &[Trend], options: &RenderOptions) -> String {
    let mut page = Page::new(options);
    page.head(series, trends);
    let names: Vec<String> = trends
        .iter()
        .map(|t| page.text(&format!("{}  {}", t.benchmark, t.name())))
        .collect();
    page.lines(&names, trends);
    page.left_out(series);
    page.finish()
}

/// The figures of one benchmark.
pub fn benchmark(series: &RunSeries, trends: &[Trend], options: &RenderOptions) -> String {
    let mut page = Page::new(options);
    page.head(series, trends);
    if let Some(first) = trends.first() {
        let name = page.text(&first.benchmark);
        let name = page.paint(&name, BOLD);
        page.line(&name);
    }
    let names: Vec<String> = trends
        .iter()
        .map(|t| page.text(&format!("{}{}", t.name(), if t.gate { " *" } else { "" })))
        .collect();
    page.lines(&names, trends);
    if trends.iter().any(|t| t.gate) {
        page.wrapped(
            "* decides: a change of it for the worse is what `eventbench history --alert` looks for",
            "",
            "  ",
        );
    }
    page.left_out(series);
    page.finish()
}

/// One figure, run by run.
pub fn figure(series: &RunSeries, trend: &Trend, options: &RenderOptions) -> String {
    let mut page = Page::new(options);
    page.head(series, std::slice::from_ref(trend));
    let name = page.text(&format!("{}  {}", trend.benchmark, trend.name()));
    let name = page.paint(&name, BOLD);
    page.line(&name);
    let columns = (page.width - 2).clamp(LINE.1, LINE.0);
    let line = sparkline(&values(trend), columns, options.ascii);
    page.line(&format!("  {line}"));
    let runs = trend.points.iter().map(|p| p.run.chars().count()).max().unwrap_or(0);
    let commits = if trend.points.iter().any(|p| p.commit.is_some()) {
        COMMIT
    } else {
        0
    };
    // Time, run, commit, value and spread with two spaces between them; a narrow page has the date alone and no commit.
    let narrow = 23 + runs + commits + 12 + 8 + 8 > page.width;
    for (index, point) in trend.points.iter().enumerate() {
        if let Some(change) = trend.changes.iter().find(|c| c.index == index) {
            let words = page.text(&moved(trend.unit, change));
            let words = page.direction(&format!("--- {words}"), change.direction);
            page.line(&words);
        }
        let spread = point
            .spread()
            .map_or_else(String::new, |s| format!("±{} %", digits(s * 100.0)));
        let cells = [
            if narrow {
                cell(&date(point.started_unix_ms), 10)
            } else {
                cell(&utc(point.started_unix_ms), 23)
            },
            cell(&page.text(&point.run), runs),
            cell(
                &page.text(&commit(point.commit.as_deref().filter(|_| !narrow))),
                if narrow { 0 } else { commits },
            ),
            right(&page.text(&trend.unit.show(point.value)), 12),
            right(&page.text(&spread), 8),
        ];
        let cells: Vec<&str> = cells.iter().map(String::as_str).filter(|c| !c.is_empty()).collect();
        page.line(&cells.join("  "));
    }
    page.left_out(series);
    page.finish()
}

/// A change in words, such as "since run 20261102-0830-ab12 (2026-11-02, commit 89abcdef01): 12 % slower, 0.52 → 0.58 ms".
pub fn since(unit: Unit, change: &TrendChange) -> String {
    let mut about = vec![date(change.started_unix_ms)];
    about.extend(change.commit.as_deref().map(|c| format!("commit {}", commit(Some(c)))));
    format!(
        "since run {} ({}): {}",
        printable(&change.run),
        about.join(", "),
        moved(unit, change)
    )
}

/// By how much a level has moved, in words.
fn moved(unit: Unit, change: &TrendChange) -> String {
    let up = change.after > change.before;
    let word = match (unit, up) {
        (Unit::Nanoseconds, true) => "slower",
        (Unit::Nanoseconds, false) => "faster",
        (_, true) => "more",
        (_, false) => "less",
    };
    let by = change
        .effect
        .map_or_else(|| word.to_owned(), |e| format!("{} % {word}", digits(e.abs() * 100.0)));
    let good = match change.direction {
        Direction::Worse if unit != Unit::Nanoseconds => ", which is worse",
        Direction::Better if unit != Unit::Nanoseconds => ", which is better",
        _ => "",
    };
    format!("{by}{good}, {} → {}", unit.show(change.before), unit.show(change.after))
}

/// A line of blocks from the oldest value to the newest, at most `columns` long: each stands for one value, or for the
/// median of several. The lowest block is the smallest of them and the highest the largest, but what lies within a fifth
/// of the median is not drawn larger than it is.
pub fn sparkline(values: &[f64], columns: usize, ascii: bool) -> String {
    let columns = columns.min(values.len());
    let Some(middle) = median(values).filter(|_| columns > 0) else {
        return String::new();
    };
    let edge = |column: usize| column * values.len() / columns;
    let shown: Vec<f64> = (0..columns)
        .filter_map(|c| median(&values[edge(c)..edge(c + 1)]))
        .collect();
    let low = shown.iter().copied().fold(f64::INFINITY, f64::min);
    let high = shown.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let half = ((high - low) / 2.0).max(0.1 * middle.abs());
    let bottom = (low + high) / 2.0 - half;
    let ink = Ink::new(ascii);
    shown.iter().map(|v| ink.level((v - bottom) / (2.0 * half))).collect()
}

fn values(trend: &Trend) -> Vec<f64> {
    trend.points.iter().map(|p| p.value).collect()
}

fn commit(id: Option<&str>) -> String {
    id.unwrap_or_default().chars().take(COMMIT).collect()
}

fn cell(text: &str, width: usize) -> String {
    let length = text.chars().count();
    format!("{text}{}", " ".repeat(width.saturating_sub(length)))
}

fn right(text: &str, width: usize) -> String {
    let length = text.chars().count();
    format!("{}{text}", " ".repeat(width.saturating_sub(length)))
}

struct Page<'a> {
    options: &'a RenderOptions,
    width: usize,
    out: String,
}

impl<'a> Page<'a> {
    fn new(options: &'a RenderOptions) -> Self {
        Self {
            options,
            width: usize::from(options.width),
            out: String::new(),
        }
    }

    /// A text as it may be shown here.
    fn text(&self, text: &str) -> String {
        let text = printable(text);
        if self.options.ascii { ascii(&text) } else { text }
    }

    fn paint(&self, text: &str, code: &str) -> String {
        if self.options.color {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    fn direction(&self, text: &str, direction: Direction) -> String {
        match direction {
            Direction::Worse => self.paint(text, RED),
            Direction::Better => self.paint(text, GREEN),
            Direction::Neutral => text.to_owned(),
        }
    }

    fn line(&mut self, line: &str) {
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }

    fn wrapped(&mut self, text: &str, first: &str, later: &str) {
        let text = self.text(text);
        self.out.push_str(&wrap(&text, self.width, first, later));
    }

    fn head(&mut self, series: &RunSeries, trends: &[Trend]) {
        let points = || trends.iter().flat_map(|t| &t.points);
        let at = |point: Option<&TrendPoint>| point.map_or_else(String::new, |p| date(p.started_unix_ms));
        let (first, last) = (
            at(points().min_by_key(|p| p.started_unix_ms)),
            at(points().max_by_key(|p| p.started_unix_ms)),
        );
        let branch = series
            .branch
            .as_ref()
            .map_or_else(String::new, |b| format!(", branch {b}"));
        let runs = if series.runs.len() == 1 { "run" } else { "runs" };
        let mut text = format!(
            "{} ({}){branch}: {} {runs}",
            series.suite,
            series.profile,
            series.runs.len()
        );
        if !first.is_empty() {
            text.push_str(&format!(", {first} to {last}"));
        }
        self.wrapped(&text, "", "  ");
        self.out.push('\n');
    }

    /// One line for each trend, and below it the moves of its level.
    fn lines(&mut self, names: &[String], trends: &[Trend]) {
        let longest = names.iter().map(|n| n.chars().count()).max().unwrap_or(0);
        // Number of runs, newest value, change, and two spaces between all columns.
        let others = 4 + 12 + 9 + 8;
        // Where the names leave no room beside them, each stands above its line.
        let above = longest + others + LINE.1 > self.width;
        let longest = if above { 2 } else { longest };
        let columns = self.width.saturating_sub(longest + others).clamp(LINE.1, LINE.0);
        let head = [
            cell("", longest),
            right("runs", 4),
            right("newest", 12),
            right("vs before", 9),
        ];
        self.line(&head.join("  "));
        for (name, trend) in names.iter().zip(trends) {
            let newest = trend.newest().map_or_else(String::new, |p| trend.unit.show(p.value));
            let change = trend.newest_change().map_or_else(String::new, |c| {
                format!(
                    "{}{} %",
                    if c < 0.0 { "-" } else { "+" },
                    digits((c.abs() * 1000.0).round() / 10.0)
                )
            });
            if above {
                self.line(name);
            }
            let cells = [
                cell(if above { "" } else { name }, longest),
                right(&trend.points.len().to_string(), 4),
                right(&self.text(&newest), 12),
                right(&change, 9),
                sparkline(&values(trend), columns, self.options.ascii),
            ];
            self.line(&cells.join("  "));
            for change in &trend.changes {
                let words = self.text(&since(trend.unit, change));
                let wrapped = wrap(&words, self.width, "    ", "      ");
                let painted: Vec<String> = wrapped.lines().map(|l| self.direction(l, change.direction)).collect();
                painted.iter().for_each(|l| self.line(l));
            }
        }
        self.out.push('\n');
    }

    fn left_out(&mut self, series: &RunSeries) {
        if series.left_out.is_empty() {
            return;
        }
        let parts: Vec<String> = series
            .left_out
            .iter()
            .map(|l| format!("{} {}", l.runs, l.why))
            .collect();
        self.wrapped(&format!("Left out: {}.", parts.join(", ")), "", "  ");
    }

    fn finish(self) -> String {
        self.out
    }
}

#[cfg(test)]
mod tests;
