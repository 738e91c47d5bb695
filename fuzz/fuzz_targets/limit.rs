//! `Limit::parse`: a limit from a suite file is understood or refused with a reason, never a panic; what is understood
//! can be written out and understood again as the same.
#![no_main]

use eventbench_core::judge::Limit;
use eventbench_core::plan::{LimitEntry, Severity};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let entry = |that: &str| LimitEntry {
        that: that.to_owned(),
        severity: Severity::Must,
        min_samples: None,
    };
    match Limit::parse(&entry(text)) {
        Ok(limit) => {
            let again = Limit::parse(&entry(&limit.that));
            assert_eq!(again.as_ref(), Ok(&limit), "the limit's own text is another limit");
        }
        Err(reason) => assert!(!reason.is_empty()),
    }
});
