//! One thread that starts every process.
//!
//! The kernel ties a child's life to the *thread* that started it (`PR_SET_PDEATHSIG`): a child started from a lane
//! would be killed when that lane ends. This thread lives as long as the process, so callers need not care.

use std::io;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

struct Job {
    command: Command,
    answer: Sender<io::Result<Child>>,
}

/// The way to the spawning thread. [`crate::provision::Child::spawn`] uses the one of the process.
#[derive(Debug, Clone)]
pub struct Spawner {
    jobs: Sender<Job>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}

impl Spawner {
    /// The spawner of this process, started at the first call.
    ///
    /// A thread inherits the CPU affinity of the one that starts it, and so do the processes that it starts. Make the
    /// first call before any affinity is set, from the main thread.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn global() -> io::Result<&'static Spawner> {
        static SPAWNER: OnceLock<Result<Spawner, io::ErrorKind>> = OnceLock::new();
        SPAWNER
            .get_or_init(|| Self::start().map_err(|e| e.kind()))
            .as_ref()
            .map_err(|kind| io::Error::from(*kind))
    }

    fn start() -> io::Result<Self> {
        let (jobs, inbox) = channel::<Job>();
        std::thread::Builder::new().name("spawner".into()).spawn(move || {
            for mut job in inbox {
                // A caller that has gone away cannot guard the child, so the child must not stay.
                if let Err(unwanted) = job.answer.send(job.command.spawn())
                    && let Ok(mut child) = unwanted.0
                {
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
        })?;
        Ok(Self { jobs })
    }

    /// Starts `command` from the spawning thread.
    ///
    /// # Errors
    /// Those of [`Command::spawn`].
    pub fn spawn(&self, command: Command) -> io::Result<Child> {
        let (answer, result) = channel();
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the thread that starts processes has ended");
        self.jobs.send(Job { command, answer }).map_err(|_| gone())?;
        result.recv().map_err(|_| gone())?
    }
}
