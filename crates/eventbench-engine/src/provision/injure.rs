//! What is done to single servers of a broker on purpose: taken down, frozen, brought back in the same place.

use super::nats_server::{Member, NatsServer, StartError};
use super::process::{ProcessError, StopReport};
use crate::linux::monotonic_ns;

/// Why nothing could be done to a server.
#[derive(Debug, thiserror::Error)]
pub enum InjuryError {
    /// It could not be started, or does not exist.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It could not be stopped, frozen or woken.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// It is down already.
    #[error("server {name} is down already")]
    Down {
        /// Its name.
        name: String,
    },
}

impl NatsServer {
    /// Asks the server `node` to end and waits for it.
    ///
    /// # Errors
    /// [`InjuryError`]; also when it is down already.
    pub fn stop_node(&mut self, node: usize) -> Result<StopReport, InjuryError> {
        let grace = self.settings.stop_grace;
        let member = self.running(node)?;
        member.down = true;
        member.paused = false;
        Ok(member.child.stop(grace)?)
    }

    /// Ends the server `node` at once, as a crash would.
    ///
    /// # Errors
    /// As [`NatsServer::stop_node`].
    pub fn kill_node(&mut self, node: usize) -> Result<StopReport, InjuryError> {
        let member = self.running(node)?;
        member.down = true;
        member.paused = false;
        Ok(member.child.kill()?)
    }

    /// Freezes the server `node`. Gives an instant from which on it stood still, in nanoseconds of the monotonic clock.
    ///
    /// # Errors
    /// As [`NatsServer::stop_node`].
    pub fn pause_node(&mut self, node: usize) -> Result<u64, InjuryError> {
        let member = self.running(node)?;
        let at_ns = member.child.pause()?;
        member.paused = true;
        Ok(at_ns)
    }

    /// Lets the server `node` go on. Gives the instant of that.
    ///
    /// # Errors
    /// As [`NatsServer::stop_node`].
    pub fn resume_node(&mut self, node: usize) -> Result<u64, InjuryError> {
        let member = self.running(node)?;
        let at_ns = member.child.resume()?;
        member.paused = false;
        Ok(at_ns)
    }

    /// Starts the server `node`, which was taken down, with its ports and its store. Gives the instant of the start in
    /// nanoseconds of the monotonic clock; when it is well again is for the caller to see.
    ///
    /// # Errors
    /// [`StartError::Runs`] when it was not taken down, else what keeps it from being started.
    pub fn start_node(&mut self, node: usize) -> Result<u64, StartError> {
        let size = self.members.len();
        let member = self.members.get_mut(node).ok_or(StartError::Absent { node, size })?;
        let place = self
            .broker
            .nodes
            .get_mut(node)
            .ok_or(StartError::Absent { node, size })?;
        if !member.down {
            return Err(StartError::Runs {
                name: place.name.clone(),
            });
        }
        let at_ns = monotonic_ns();
        member.child = member.home.spawn(&self.settings)?;
        member.down = false;
        place.pid = Some(member.child.pid());
        Ok(at_ns)
    }

    /// The servers that have ended although nobody took them down, in words with what they wrote last.
    pub fn ended_unasked(&mut self) -> Vec<String> {
        let mut ended = Vec::new();
        for (member, place) in self.members.iter_mut().zip(&self.broker.nodes) {
            if member.down {
                continue;
            }
            if let Ok(Some(exit)) = member.child.try_wait() {
                let tail: String = member
                    .child
                    .tail(5)
                    .iter()
                    .map(|line| format!("\n  | {line}"))
                    .collect();
                ended.push(match member.home.seat {
                    Some(_) => format!(
                        "server {} of the broker ended in the middle of the run: {exit}{tail}",
                        place.name
                    ),
                    None => format!("the broker ended in the middle of the run: {exit}{tail}"),
                });
            }
        }
        ended
    }

    fn running(&mut self, node: usize) -> Result<&mut Member, InjuryError> {
        let size = self.members.len();
        let name = self.broker.nodes.get(node).map(|n| n.name.clone()).unwrap_or_default();
        let member = self.members.get_mut(node).ok_or(StartError::Absent { node, size })?;
        if member.down {
            return Err(InjuryError::Down { name });
        }
        Ok(member)
    }
}
