//! The router: knows the instances of each capability, and picks the one that takes the next call.

mod breaker;
mod discovery;
mod table;

pub(crate) use breaker::BreakerSettings;
pub(crate) use discovery::{Discovery, Listing, listed};
pub(crate) use table::{NoRoute, Picked, Router, Suspect};
