//! Where a service's log goes: lines on standard error, so that standard output stays free.

use tracing_subscriber::filter::LevelFilter;

/// Sets the log up for this process. A second call changes nothing.
pub(crate) fn start(level: LevelFilter) {
    // The error says that a subscriber is set already, which is what we want.
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_target(false)
        .try_init();
}
