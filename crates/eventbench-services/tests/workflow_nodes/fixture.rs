//! A broker, services in processes of their own, and waits with a generous limit.

use async_nats::Client;
use bytes::Bytes;
use eventbench_services::SERVICES;
use eventbench_services::connection::NatsArgs;
use eventbench_services::kit::caller::{CallError, Caller};
use eventbench_services::kit::pool::Pool;
use eventbench_services::kit::reply::ErrorReply;
use serde_json::Value;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest wait for anything; reached only when something is broken.
pub const LIMIT: Duration = Duration::from_secs(90);

/// The environment variable that makes a test the process of a service: its name and arguments, separated by line ends.
const ARGUMENTS: &str = "EVENTBENCH_TEST_WORKFLOW_SERVICE";
/// The test that does so.
const SERVICE_TEST: &str = "stamps::a_killed_reducer_goes_on_where_it_was_and_counts_nothing_twice";

/// Runs the service that the environment asks for, if it does; whether it did.
#[allow(clippy::disallowed_methods, reason = "how a test tells its process what to be")]
pub fn was_a_service() -> bool {
    let Ok(arguments) = std::env::var(ARGUMENTS) else {
        return false;
    };
    let mut arguments = arguments.lines();
    let name = arguments.next().unwrap();
    let service = SERVICES.iter().find(|service| service.name == name).unwrap();
    let command = (service.command)().no_binary_name(true);
    let outcome = (service.run)(&command.get_matches_from(arguments));
    if let Err(cause) = outcome {
        panic!("{name}: {cause}");
    }
    true
}

/// Waits until `holds` says so.
#[allow(clippy::disallowed_methods, reason = "a deadline of the test itself")]
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + LIMIT;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A nats-server of its own for one test, stopped when dropped.
pub struct Broker {
    process: Child,
    url: String,
    directory: tempfile::TempDir,
}

impl Broker {
    #[allow(
        clippy::disallowed_methods,
        reason = "the test starts the broker that the services need"
    )]
    pub async fn start() -> Broker {
        let directory = tempfile::tempdir().unwrap();
        let process = Command::new(eventbench_testkit::broker::nats_server())
            // The server finds a free port by itself and writes it into a file.
            .args(["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir"])
            .arg(directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut broker = Broker {
            process,
            url: String::new(),
            directory,
        };
        let directory = broker.directory.path();
        let url = std::cell::RefCell::new(None);
        until("the broker writes its ports", || async {
            *url.borrow_mut() = port_in(directory);
            url.borrow().is_some()
        })
        .await;
        broker.url = url.take().unwrap();
        broker
    }

    pub async fn client(&self) -> Client {
        async_nats::connect(&self.url).await.unwrap()
    }

    /// A caller that waits as long as everything in these tests.
    pub async fn caller(&self) -> Caller {
        let args = NatsArgs {
            nats: Some(self.url.clone()),
            ..NatsArgs::default()
        };
        let connections = NonZeroUsize::new(2).unwrap();
        let pool = Pool::connect(&args, "test", connections, &Arc::default())
            .await
            .unwrap();
        Caller::new(Arc::new(pool)).with_timeout(LIMIT)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fn port_in(directory: &Path) -> Option<String> {
    let mut files = std::fs::read_dir(directory).unwrap().flatten();
    let file = files.find(|file| file.path().extension().is_some_and(|extension| extension == "ports"))?;
    // The file may be there before its content is.
    let ports: Value = serde_json::from_slice(&std::fs::read(file.path()).ok()?).ok()?;
    Some(ports["nats"][0].as_str()?.to_owned())
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A service in a process of its own, killed when dropped.
pub struct Process(Child);

impl Process {
    /// Starts a service as instance `i` and waits until it answers under `name`, or has ended.
    #[allow(
        clippy::disallowed_methods,
        reason = "a crash and a signal need a process of their own"
    )]
    pub async fn start(broker: &Broker, service: &str, name: &str, arguments: &[&str]) -> Process {
        let common = [service, "--nats", &broker.url, "--instance", "i", "--log", "warn"];
        let all: Vec<&str> = common.into_iter().chain(arguments.iter().copied()).collect();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", SERVICE_TEST, "--nocapture"])
            .env(ARGUMENTS, all.join("\n"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut process = Process(child);
        let client = broker.client().await;
        let subject = format!("$SRV.PING.{name}.i");
        let child = std::cell::RefCell::new(&mut process.0);
        until("the process answers", || async {
            child.borrow_mut().try_wait().unwrap().is_some()
                || client.request(subject.clone(), Bytes::new()).await.is_ok()
        })
        .await;
        process
    }

    pub async fn reducer(broker: &Broker, arguments: &[&str]) -> Process {
        let path = broker.file("reducer.db");
        let arguments: Vec<&str> = ["--db", path.to_str().unwrap()]
            .into_iter()
            .chain(arguments.iter().copied())
            .collect();
        Process::start(broker, "reducer", "reducer", &arguments).await
    }

    pub async fn registry(broker: &Broker, arguments: &[&str]) -> Process {
        Process::start(broker, "registry", "registry", arguments).await
    }

    pub async fn nodes(broker: &Broker, arguments: &[&str]) -> Process {
        Process::start(broker, "node-host", "nodes", arguments).await
    }

    /// SIGKILL, as a crash would be; returns once it is gone.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// SIGTERM; returns how it ended.
    pub async fn terminate(self) -> ExitStatus {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.ended().await
    }

    pub async fn ended(mut self) -> ExitStatus {
        let child = std::cell::RefCell::new(&mut self.0);
        until("the process ends", || async {
            child.borrow_mut().try_wait().unwrap().is_some()
        })
        .await;
        self.0.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Calls a method with JSON and expects a reply.
pub async fn call(caller: &Caller, service: &str, method: &str, parameters: &Value) -> Value {
    let reply = caller.call(service, method, Bytes::from(parameters.to_string())).await;
    let reply = reply.unwrap_or_else(|error| panic!("{service}.{method}: {error}"));
    serde_json::from_slice(&reply).unwrap()
}

/// Calls a method with JSON and expects it to refuse.
pub async fn refused(caller: &Caller, service: &str, method: &str, parameters: &str) -> ErrorReply {
    match caller.call(service, method, Bytes::from(parameters.to_owned())).await {
        Err(CallError::Refused(error)) => error,
        other => panic!("{service}.{method} {parameters}: not refused: {other:?}"),
    }
}
