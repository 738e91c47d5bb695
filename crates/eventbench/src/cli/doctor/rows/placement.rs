//! The finding on placement: whether roles can be kept to cores here, and what that is worth.

use super::{Mark, Row, row};
use eventbench_core::plan::{PlacementName, PlacementSetting};
use eventbench_engine::placement::{Settled, settle_on};
use eventbench_engine::probes::machine::MachineReading;

/// The finding.
pub(super) fn row_of(machine: &MachineReading) -> Row {
    const NAME: &str = "placement";
    let pinned = PlacementSetting::Named(PlacementName::Pinned);
    let allowed = machine
        .allowed_cpus
        .clone()
        .ok_or_else(|| "this system has no CPU affinity".to_owned());
    let one_core = matches!(&allowed, Ok(cores) if cores.len() == 1);
    match settle_on(&pinned, &allowed, machine.cgroup_cpus, false) {
        Ok(Settled {
            placement: Some(placement),
            notices,
        }) => {
            let kept_awake = if notices.is_empty() {
                "and keeps those cores awake"
            } else {
                "but cannot keep those cores awake under the control group's limit"
            };
            row(
                NAME,
                Mark::Ok,
                format!("`--placement pinned` is possible, as {placement}").replace(',', ", "),
                format!(
                    "it keeps each role to its cores {kept_awake}; on two cores this brought the spread of p50 between \
                     runs from 10-13 % to 2-4 % (4-8 % without keeping awake), so that 10 pairs show changes of 1-3 % \
                     instead of 8-11 %"
                ),
            )
        }
        Ok(Settled { .. }) if one_core => row(
            NAME,
            Mark::Ok,
            "nothing to choose on one core",
            "every role is on the same core whatever a plan says",
        ),
        Ok(Settled { notices, .. }) => row(
            NAME,
            Mark::Mind,
            "not possible here",
            format!(
                "{}; the kernel moves the roles between cores, and p50 of short latencies differs by 10 % and more between runs",
                notices.join("; ")
            ),
        ),
        Err(why) => row(NAME, Mark::Mind, "not possible here", why.to_string()),
    }
}
