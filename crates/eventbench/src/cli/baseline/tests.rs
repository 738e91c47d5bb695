//! Which runs will do as a baseline.

use super::*;
use eventbench_testkit::golden;

#[test]
fn only_a_run_that_says_something_can_be_a_baseline() {
    assert_eq!(fit(&golden::all_pass()), Ok(Vec::new()));
    assert_eq!(fit(&golden::warn()), Ok(Vec::new()));
    let failed = fit(&golden::fail_with_losses()).unwrap();
    assert_eq!(failed, ["burst failed a limit"]);
    assert_eq!(fit(&golden::compared()).unwrap(), ["it is worse than main"]);
    for (record, says) in [
        (golden::invalid(), "could not be trusted in flood"),
        (golden::no_data(), "no data for a limit of too-short"),
        (golden::interrupted(), "interrupted"),
        (golden::empty(), "not come to its end"),
    ] {
        let why = fit(&record).unwrap_err();
        assert!(why.contains(says), "{why}");
    }
}
