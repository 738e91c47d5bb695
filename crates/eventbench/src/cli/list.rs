//! `eventbench list`: what there is.

use super::{Failure, out, suites};
use crate::exit::Exit;
use clap::Args;
use comfy_table::{Table, presets};
use eventbench_core::arrival::ARRIVALS;
use eventbench_core::metric::{METRICS, STATISTICS};
use eventbench_core::payload::FIELDS;
use eventbench_core::plan::Benchmark;
use eventbench_drivers::{DRIVERS, OBSERVERS, READY};
use eventbench_report::REPORTS;
use eventbench_services::SERVICES;

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Suites by name or file; all built-in ones if none is given
    #[arg(value_name = "SUITE|FILE")]
    suites: Vec<String>,
    /// Metrics and statistics that limits may speak of
    #[arg(long)]
    metrics: bool,
    /// Drivers, observers, arrivals, payload fields, services and report formats
    #[arg(long)]
    parts: bool,
}

/// Runs the command.
pub fn run(args: &ListArgs) -> Result<Exit, Failure> {
    if args.metrics {
        let metrics = METRICS.iter().map(|m| {
            vec![
                m.id.to_owned(),
                format!("{:?}", m.kind).to_lowercase(),
                m.unit.symbol().to_owned(),
                m.help.to_owned(),
            ]
        });
        out(table("Metrics", &["metric", "kind", "unit", "meaning"], metrics));
        let statistics = STATISTICS.iter().map(|s| {
            let kinds: Vec<String> = s.kinds.iter().map(|k| format!("{k:?}").to_lowercase()).collect();
            vec![
                if s.argument {
                    format!("{}(N)", s.name)
                } else {
                    s.name.to_owned()
                },
                kinds.join(", "),
                s.about.to_owned(),
            ]
        });
        out(table("Statistics", &["statistic", "of", "meaning"], statistics));
        return Ok(Exit::Ok);
    }
    if args.parts {
        let two = |rows: Vec<(&str, &str)>| {
            rows.into_iter()
                .map(|(a, b)| vec![a.to_owned(), b.to_owned()])
                .collect::<Vec<_>>()
        };
        out(table(
            "Drivers (drive)",
            &["name", "what it does"],
            two(DRIVERS.iter().map(|d| (d.name, d.about)).collect()),
        ));
        out(table(
            "Observers (observe)",
            &["name", "what it sees"],
            two(OBSERVERS.iter().map(|d| (d.name, d.about)).collect()),
        ));
        out(table(
            "Readiness (service.NAME.ready)",
            &["key", "what it asks"],
            two(READY.iter().map(|d| (d.name, d.about)).collect()),
        ));
        out(table(
            "Arrival (load.arrival)",
            &["name", "events are"],
            two(ARRIVALS.iter().map(|d| (d.name, d.about)).collect()),
        ));
        out(table(
            "Payload fields",
            &["field", "what it puts there"],
            two(FIELDS.to_vec()),
        ));
        out(table(
            "Services (eventbench service)",
            &["name", "what it is"],
            two(SERVICES.iter().map(|d| (d.name, d.about)).collect()),
        ));
        out(table(
            "Reports (-o)",
            &["format", "what it is"],
            two(REPORTS.iter().map(|d| (d.name, d.about)).collect()),
        ));
        return Ok(Exit::Ok);
    }
    let names: Vec<String> = if args.suites.is_empty() {
        suites::BUILT_IN.iter().map(|s| s.0.to_owned()).collect()
    } else {
        args.suites.clone()
    };
    for name in names {
        let (suite, _) = suites::load(&name)?;
        let rows = suite.benchmark.iter().flat_map(Benchmark::swept).map(|b| {
            vec![
                b.name.value.clone(),
                b.requirement.clone().unwrap_or_default(),
                b.category().to_owned(),
                b.tags.join(" "),
                b.load.describe(),
                b.about.clone().unwrap_or_default(),
            ]
        });
        let title = format!(
            "{} — {}",
            suite.suite.name,
            suite.suite.about.clone().unwrap_or_default()
        );
        out(table(
            &title,
            &["benchmark", "requirement", "category", "tags", "load", "question"],
            rows,
        ));
        for (profile, p) in &suite.profile {
            out(format!(
                "  --profile {profile:<10} {}\n",
                p.about.clone().unwrap_or_default()
            ));
        }
    }
    Ok(Exit::Ok)
}

pub(super) fn table(title: &str, head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.style_mut().row_separator = comfy_table::LineStyle::none();
    table.set_header(head.to_vec());
    for row in rows {
        table.add_row(row);
    }
    let width = console::Term::stdout()
        .size_checked()
        .map_or(160, |(_, columns)| columns);
    table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    table.set_width(width);
    format!("\n{title}\n{table}\n")
}
