//! The AG-UI protocol as a client has to check it: events, rules, and the verifier of one stream.

mod event;
mod json;
mod json_text;
mod rules;
mod state;
mod verify;

pub use rules::{RULES, Rule};
pub use verify::Verifier;
