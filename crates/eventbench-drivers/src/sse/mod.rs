//! Server-sent events: the parser of event streams.

mod parser;

pub use parser::{Event, Parser, TooLong};
