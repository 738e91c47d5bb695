//! JetStream: publishing with acknowledgements, consumers as observers, and the streams that a benchmark brings along.

mod ack;
mod consume;
mod control;
mod publish;
mod stream;

pub use consume::OBSERVER;
pub use publish::DRIVER;
pub use stream::Held;
