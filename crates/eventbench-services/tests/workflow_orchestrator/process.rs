//! Services as processes of their own: this test binary, started again.

use crate::fixture::{ARGUMENTS, LIMIT, until};
use eventbench_services::SERVICES;
use rustix::process::Signal;
use std::process::{Child, Command, ExitStatus, Stdio};

/// A process, killed when dropped.
pub struct Process(Child);

impl Process {
    /// Starts a service without waiting for it.
    #[allow(clippy::disallowed_methods, reason = "a crash needs a process of its own")]
    pub fn spawn(service: &str, arguments: &[&str]) -> Process {
        let all: Vec<&str> = [service].into_iter().chain(arguments.iter().copied()).collect();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process::a_process_is_the_service_that_it_is_told_to_be"])
            .arg("--nocapture")
            .env(ARGUMENTS, all.join("\n"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Process(child)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    pub async fn ended(mut self) -> ExitStatus {
        let child = std::cell::RefCell::new(&mut self.0);
        until("the process ends", || async {
            child.borrow_mut().try_wait().unwrap().is_some()
        })
        .await;
        self.0.wait().unwrap()
    }

    /// Ends it as a crash would, and waits for the end.
    pub async fn kill(self) {
        self.signal(Signal::KILL);
        assert!(!self.ended().await.success());
    }

    /// Ends it by SIGTERM, and waits for a clean end.
    pub async fn stop(self) {
        self.signal(Signal::TERM);
        let status = self.ended().await;
        assert!(status.success(), "{status}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// With arguments in the environment, this is the process of a service; without any, it checks that one can be started
/// and ended.
#[tokio::test]
async fn a_process_is_the_service_that_it_is_told_to_be() {
    #[allow(clippy::disallowed_methods, reason = "how the test tells its process what to be")]
    if let Ok(arguments) = std::env::var(ARGUMENTS) {
        let mut arguments = arguments.lines();
        let name = arguments.next().unwrap();
        let service = SERVICES.iter().find(|service| service.name == name).unwrap();
        let matches = (service.command)().no_binary_name(true).get_matches_from(arguments);
        let outcome = tokio::task::spawn_blocking(move || (service.run)(&matches)).await;
        return outcome.unwrap().unwrap();
    }
    let broker = crate::fixture::Broker::start(false).await;
    let worker = broker.service("worker", "w1", &["--capability", "tree"]).await;
    let stopped = tokio::time::timeout(LIMIT, worker.stop()).await;
    stopped.unwrap();
}
