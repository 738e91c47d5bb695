//! Cross-checks of a trial: the same count by a second way, so that an instrument that errs is found out.

use crate::drive::Conducted;
use crate::linux;
use crate::provision::{ConnectionState, Monitor};
use eventbench_core::observe::HopTimes;
use eventbench_core::record::CheckResult;

/// Whether each observer, counting at the end, finds as many as it saw one by one.
pub fn observers(conducted: &mut Conducted, checks: &mut Vec<CheckResult>) {
    for (view, observer) in &mut conducted.views {
        let seen = view.sightings;
        match observer.count() {
            Ok(Some(counted)) => checks.push(CheckResult {
                name: "the observer saw everything there is".to_owned(),
                holds: Some(counted == seen),
                detail: format!("{seen} rows seen one by one, {counted} counted at the end"),
            }),
            Ok(None) => {}
            Err(e) => checks.push(CheckResult {
                name: "the observer saw everything there is".to_owned(),
                holds: None,
                detail: e.to_string(),
            }),
        }
    }
}

/// How far the hops may lie from the whole way on average, in nanoseconds: instants are taken one after the other, by
/// clocks that agree, so that only the rounding of what services tell remains.
const HOP_TOLERANCE_NS: f64 = 2_000.0;

/// Whether the hops that services told of make up the way that the driver measured.
pub fn hops(hops: &HopTimes, checks: &mut Vec<CheckResult>) {
    let Some(sum) = hops.sum() else { return };
    checks.push(CheckResult {
        name: "the hops add up to the whole way".to_owned(),
        holds: Some(sum.complete && (sum.hops_ns - sum.way_ns).abs() <= HOP_TOLERANCE_NS),
        detail: format!(
            "{:.1} µs of hops and {:.1} µs from the intended instant to the reply, on average over {} events{}",
            sum.hops_ns / 1e3,
            sum.way_ns / 1e3,
            sum.ways,
            if sum.complete {
                ""
            } else {
                "; not every event passed every hop"
            }
        ),
    });
}

/// Whether the servers of the broker counted as many messages on connections called `name` as were `sent`.
pub fn broker(monitors: &[Monitor], name: &str, sent: u64, conducted: &Conducted, checks: &mut Vec<CheckResult>) {
    if monitors.is_empty() {
        return;
    }
    let title = "the broker counted what was sent".to_owned();
    if !conducted.errors.is_empty() {
        checks.push(CheckResult {
            name: title,
            holds: None,
            detail: "not asked, since the run broke off".to_owned(),
        });
        return;
    }
    // A server's own counter lags behind its socket by at most the message under way; asked until it stands still. What
    // a server that was taken down had counted never comes, and one that is still down never answers.
    let gone = &conducted.faults.forgotten;
    let (short, long) = (200_000_000, 5_000_000_000);
    let begun_ns = linux::monotonic_ns();
    let counted = loop {
        let counted = monitors.iter().try_fold(0, |sum, monitor| {
            let connections = monitor.connections(ConnectionState::Open).map_err(|e| e.to_string())?;
            let mine = connections.iter().filter(|c| c.name == name).map(|c| c.in_msgs);
            Ok(sum + mine.sum::<u64>())
        });
        let patience_ns = match &counted {
            Ok(n) if *n >= sent => 0,
            Ok(_) if !gone.is_empty() => short,
            Err(_) if conducted.faults.is_any_down() => short,
            _ => long,
        };
        if linux::monotonic_ns() >= begun_ns + patience_ns {
            break counted;
        }
        linux::sleep_until_ns(linux::monotonic_ns() + 10_000_000);
    };
    let counts = |n: u64| format!("{sent} sent, {n} counted in by the broker on our connections");
    let (holds, detail) = match counted {
        Ok(n) if n == sent => (Some(true), counts(n)),
        other if !gone.is_empty() => (
            None,
            format!(
                "{}; the counters of {} went with it when it was taken down",
                other.map_or_else(|e| e, counts),
                gone.join(" and ")
            ),
        ),
        // Of a cluster that is attached to, the monitoring of one server is known, and we may be attached to another.
        Ok(n) if monitors.len() == 1 && monitors[0].peers().is_ok_and(|peers| !peers.is_empty()) => (
            None,
            format!("{}; what its other servers counted is not known here", counts(n)),
        ),
        Ok(n) => (Some(false), counts(n)),
        Err(e) => (None, e),
    };
    checks.push(CheckResult {
        name: title,
        holds,
        detail,
    });
}

/// Whether the machine was not suspended since `before`.
pub fn clock(before: Option<u64>, checks: &mut Vec<CheckResult>) {
    let after = linux::suspended_ns();
    let (Some(before), Some(after)) = (before, after) else {
        return;
    };
    let step_ns = after.saturating_sub(before);
    checks.push(CheckResult {
        name: "the machine was not suspended".to_owned(),
        // The two clocks are read one after the other, and a reading may be preempted in between.
        holds: Some(step_ns < 1_000_000_000),
        detail: format!("{:.3} s suspended during the trial", step_ns as f64 / 1e9),
    });
}
