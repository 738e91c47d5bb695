//! A real nats-server for tests: found or installed just as a user's run would, never skipped.

use eventbench_engine::provision::{NatsServer, NatsSettings, Search, find_nats_server};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The nats-server program: `EVENTBENCH_NATS_SERVER`, PATH, the user's cache, or fetched into that cache.
///
/// # Panics
/// When none can be had; the message says how to get one.
#[allow(
    clippy::disallowed_methods,
    clippy::panic,
    reason = "a test fixture reads the environment and ends the test when it cannot be set up"
)]
pub fn nats_server() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let environment = std::env::var_os("EVENTBENCH_NATS_SERVER").map(PathBuf::from);
        let path = std::env::var_os("PATH");
        let cache = std::env::var_os("EVENTBENCH_CACHE").map(PathBuf::from).or_else(|| {
            let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
            home.or_else(|| std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache")))
                .map(|c| c.join("eventbench"))
        });
        let search = Search {
            explicit: None,
            environment: environment.as_deref(),
            path: path.as_deref(),
            cache_dir: cache.as_deref(),
            may_install: true,
        };
        match find_nats_server(&search, &mut |_| {}) {
            Ok(found) => found.program,
            Err(e) => panic!("{e}"),
        }
    })
}

/// A running server on a free loopback port; it ends when dropped.
///
/// # Panics
/// When it does not start.
#[allow(clippy::panic, reason = "a test fixture ends the test when it cannot be set up")]
pub fn start(settings: NatsSettings) -> NatsServer {
    match NatsServer::start(nats_server(), settings) {
        Ok(server) => server,
        Err(e) => panic!("{e}"),
    }
}
