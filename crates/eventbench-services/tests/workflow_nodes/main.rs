//! The reducer, the registry and the node host, as processes of their own on a real broker and a real database.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy takes only functions with #[test] for tests"
)]

mod batches;
mod fixture;
mod nodes;
mod stamps;
