//! Bounds and changes as small pictures: each value with its interval beside what it is held against.

use super::plot::{Chart, cut, width_of};
use super::scale::Axis;
use super::writer::{Drawing, px};
use eventbench_core::judge::compare::{ComparedRow, Decision, Role, RunComparison, Scale};
use eventbench_core::judge::{Comparison, LimitResult, Verdict};
use eventbench_core::units::{Unit, digits};

/// A limit as a bar up to the value, with its interval and a stroke at the bound. Empty without a value, and for bounds
/// that have no side: a count that must be zero needs no picture.
pub(crate) fn bullet(limit: &LimitResult) -> String {
    const WIDTH: f64 = 150.0;
    let Some(value) = limit.value.filter(|v| v.is_finite() && *v >= 0.0) else {
        return String::new();
    };
    if limit.bound <= 0.0 || matches!(limit.comparison, Comparison::Equal | Comparison::NotEqual) {
        return String::new();
    }
    let most = limit.interval.map_or(value, |i| i.1.max(value)).max(limit.bound);
    let x = Axis {
        from: 0.0,
        to: (limit.bound * 1.5)
            .min(most * 1.08)
            .max(value.min(limit.bound * 4.0) * 1.02),
        log: false,
        low: 0.0,
        high: WIDTH,
    };
    let class = match limit.outcome {
        Verdict::Pass => "pass-fill",
        Verdict::Warn => "warn-fill",
        Verdict::NoData => "six-fill",
        _ => "fail-fill",
    };
    let mut d = Drawing::default();
    d.rect("shade", 0.0, 5.0, WIDTH, 10.0, None);
    d.rect(class, 0.0, 7.0, x.at(value).max(1.5), 6.0, None);
    if let Some((low, high)) = limit.interval.filter(|(low, high)| low < high) {
        d.line("whisker-ink", (x.at(low), 10.0), (x.at(high), 10.0));
    }
    d.line("bound", (x.at(limit.bound), 2.0), (x.at(limit.bound), 18.0));
    format!(
        "<svg class=\"chart bullet\" viewBox=\"0 0 {} 20\" aria-hidden=\"true\">{}</svg>",
        px(WIDTH),
        d.finish()
    )
}

/// The changes of a comparison with their intervals, on one axis of percent, the margin shaded: those that decide, and
/// those that have certainly changed.
pub(crate) fn forest(comparison: &RunComparison) -> Option<Chart> {
    const WIDTH: f64 = 960.0;
    const ROW: f64 = 30.0;
    const TOP: f64 = 44.0;
    let rows: Vec<(&ComparedRow, f64, (f64, f64))> = comparison
        .rows
        .iter()
        .filter(|r| r.scale == Scale::Ratio)
        .filter(|r| r.role != Role::Advisory || matches!(r.decision, Decision::Worse | Decision::Better))
        .filter_map(|r| Some((r, r.effect?, r.interval?)))
        .filter(|(_, effect, (low, high))| [effect, low, high].iter().all(|v| v.is_finite()))
        .collect();
    let far = rows
        .iter()
        .flat_map(|(r, _, (low, high))| [low.abs(), high.abs(), r.margin.unwrap_or(0.0).min(1.0)])
        .fold(0.0, f64::max);
    if rows.is_empty() || far <= 0.0 {
        return None;
    }
    let name = |r: &ComparedRow| {
        let tags: Vec<&str> = r.tags.values().map(String::as_str).collect();
        let stat = if r.stat == "value" { "" } else { r.stat.as_str() };
        let parts = [r.benchmark.as_str(), r.metric.as_str(), &tags.join(","), stat].map(str::to_owned);
        cut(
            &parts
                .into_iter()
                .filter(|p| !p.is_empty())
                .collect::<Vec<_>>()
                .join(" "),
            52,
        )
    };
    let left = rows.iter().map(|r| width_of(&name(r.0))).fold(120.0, f64::max) + 16.0;
    let reach = Axis::from_zero(far, 0.0, 1.0).to;
    let x = Axis {
        from: -reach,
        to: reach,
        log: false,
        low: left,
        high: WIDTH - 146.0,
    };
    let bottom = TOP + rows.len() as f64 * ROW;
    let mut d = Drawing::default();
    d.text("name", 0.0, 16.0, "change");
    let told = "dot and interval; the margin in the bad direction is shaded";
    d.text("note", width_of("change") + 18.0, 16.0, told);
    for (i, (row, _, _)) in rows.iter().enumerate() {
        if let Some(margin) = row.margin {
            let worse = match row.better {
                eventbench_core::metric::Better::Higher => -margin,
                _ => margin,
            };
            let (from, to) = (x.at(worse.min(0.0)), x.at(worse.max(0.0)));
            d.rect("shade", from, TOP + i as f64 * ROW + 3.0, to - from, ROW - 6.0, None);
        }
    }
    for value in x.ticks(6) {
        let at = x.at(value);
        d.line(
            if value == 0.0 { "axis" } else { "grid" },
            (at, TOP - 8.0),
            (at, bottom),
        );
        let sign = if value > 0.0 { "+" } else { "" };
        let text = format!("{sign}{} %", digits(value * 100.0)).replace('-', "−");
        d.text("tick mid", at, bottom + 19.0, &text);
    }
    for (i, (row, effect, (low, high))) in rows.iter().enumerate() {
        let y = TOP + (i as f64 + 0.5) * ROW;
        d.text("end", left - 12.0, y + 4.5, &name(row));
        let (line, dot) = match row.decision {
            Decision::Worse => ("bound fail", "fail-fill"),
            Decision::Better => ("bound pass", "pass-fill"),
            Decision::Same => ("curve s6", "six-fill"),
            _ => ("bound warn", "warn-fill"),
        };
        d.line(line, (x.at(*low), y), (x.at(*high), y));
        let (cx, cy) = (px(x.at(*effect)), px(y));
        let said = format!("{} to {}", Unit::Ratio.show(*low), Unit::Ratio.show(*high));
        d.titled(
            "circle",
            &[("class", dot), ("cx", &cx), ("cy", &cy), ("r", "4.5")],
            &said,
        );
        d.text("note", WIDTH - 124.0, y + 4.5, row.decision.word());
    }
    Some(Chart {
        kind: "comparison",
        about: format!("change from {} to {}", comparison.a.label, comparison.b.label),
        width: WIDTH,
        height: bottom + 28.0,
        body: d.finish(),
        notes: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbench_testkit::golden;

    #[test]
    fn a_limit_that_fails_looks_otherwise_than_one_that_holds() {
        let mut limit = golden::all_pass().benchmarks[0].limits[0].clone();
        assert!(bullet(&limit).contains("pass-fill"));
        limit.outcome = Verdict::Fail;
        assert!(bullet(&limit).contains("fail-fill"));
        limit.value = None;
        assert_eq!(bullet(&limit), "");
    }

    #[test]
    fn every_row_that_decides_with_an_interval_is_drawn() {
        let comparison = golden::compared().comparison.unwrap();
        let body = forest(&comparison).unwrap().body;
        assert_eq!(body.matches("<circle").count(), 5);
        assert!(body.contains("bound fail") && body.contains("bound warn") && body.contains("bound pass"));
    }
}
