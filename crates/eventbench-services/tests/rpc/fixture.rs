//! A broker, services in threads and in processes of their own, and waits with a generous limit.

use async_nats::Client;
use bytes::Bytes;
use eventbench_services::ServiceError;
use eventbench_services::connection::NatsArgs;
use eventbench_services::kit::caller::Caller;
use eventbench_services::kit::codec::Codec;
use eventbench_services::kit::pool::Pool;
use eventbench_services::kit::service::{Service, runtime};
use eventbench_services::rpc;
use serde_json::Value;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Longest wait for anything; reached only when something is broken.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The environment variable that makes a test the process of a service: its arguments, separated by line ends.
pub const ARGUMENTS: &str = "EVENTBENCH_TEST_SERVICE";

/// Waits until `holds` says so.
#[allow(clippy::disallowed_methods, reason = "a deadline of the test itself")]
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + LIMIT;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for something that must come.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future)
        .await
        .unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"))
}

/// A nats-server of its own for one test, stopped when dropped.
pub struct Broker {
    process: Child,
    url: String,
    pub directory: tempfile::TempDir,
}

impl Broker {
    pub async fn start() -> Broker {
        Broker::start_with(true).await
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "the test starts the broker that the service needs"
    )]
    pub async fn start_with(jetstream: bool) -> Broker {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(eventbench_testkit::broker::nats_server());
        // The server finds a free port by itself and writes it into a file.
        command
            .args(["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir"])
            .arg(directory.path());
        if jetstream {
            command.arg("-js").arg("-sd").arg(directory.path().join("jetstream"));
        }
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
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

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn args(&self) -> NatsArgs {
        NatsArgs {
            nats: Some(self.url.clone()),
            ..NatsArgs::default()
        }
    }

    pub async fn client(&self) -> Client {
        async_nats::connect(&self.url).await.unwrap()
    }

    pub async fn pool(&self, connections: usize) -> Arc<Pool> {
        let connections = NonZeroUsize::new(connections).unwrap();
        Arc::new(
            Pool::connect(&self.args(), "test", connections, &Arc::default())
                .await
                .unwrap(),
        )
    }

    /// A caller that waits as long as everything in these tests.
    pub async fn caller(&self) -> Caller {
        Caller::new(self.pool(3).await).with_timeout(LIMIT)
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

/// A service in a thread of this process.
pub struct Running {
    stop: Option<oneshot::Sender<()>>,
    thread: JoinHandle<Result<(), ServiceError>>,
}

impl Running {
    /// Starts a service of the kit and waits until its instance answers.
    pub async fn kit(broker: &Broker, service: Service) -> Running {
        let instance = format!("{}.{}", service.name, service.instance);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let stopped = async {
                let _ = stopped.await;
            };
            runtime("test")?.block_on(service.run_until(stopped))
        });
        let running = Running {
            stop: Some(stop),
            thread,
        };
        running.ready(broker, &instance).await;
        running
    }

    /// Starts the RPC service as instance `instance` of `echo` and waits until it answers.
    pub async fn rpc(broker: &Broker, instance: &str, arguments: &[&str]) -> Running {
        let args = rpc_args(broker, instance, arguments);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let stopped = async {
                let _ = stopped.await;
            };
            rpc::run_until(args, stopped)
        });
        let running = Running {
            stop: Some(stop),
            thread,
        };
        running.ready(broker, &format!("echo.{instance}")).await;
        running
    }

    async fn ready(&self, broker: &Broker, instance: &str) {
        let client = broker.client().await;
        until("the instance answers", || async {
            // One that cannot start is told by the test at once, in its own words.
            self.thread.is_finished() || answers(&client, instance).await
        })
        .await;
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends it and returns what it says to that.
    pub async fn stop(mut self) -> Result<(), String> {
        drop(self.stop.take());
        let thread = self.thread;
        within(
            "the service ends",
            tokio::task::spawn_blocking(move || thread.join().unwrap()),
        )
        .await
        .unwrap()
        .map_err(|error| error.to_string())
    }
}

pub fn rpc_args(broker: &Broker, instance: &str, arguments: &[&str]) -> rpc::Args {
    use clap::{Args as _, FromArgMatches as _};
    let command = rpc::Args::augment_args(clap::Command::new("rpc").no_binary_name(true));
    let common = ["--nats", broker.url(), "--instance", instance, "--heartbeat", "100ms"];
    let matches = command.get_matches_from(common.into_iter().chain(arguments.iter().copied()));
    rpc::Args::from_arg_matches(&matches).unwrap()
}

async fn answers(client: &Client, instance: &str) -> bool {
    client
        .request(format!("$SRV.PING.{instance}"), Bytes::new())
        .await
        .is_ok()
}

/// The RPC service in a process of its own, killed when dropped.
pub struct Process(Child);

impl Process {
    /// Starts instance `instance` of `echo` and waits until it answers, or has ended.
    #[allow(
        clippy::disallowed_methods,
        reason = "a crash and a signal need a process of their own"
    )]
    pub async fn start(broker: &Broker, instance: &str, arguments: &[&str]) -> Process {
        let common = ["--nats", broker.url(), "--instance", instance, "--heartbeat", "100ms"];
        let all: Vec<&str> = common.into_iter().chain(arguments.iter().copied()).collect();
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "drain::a_signal_ends_the_process_after_what_it_has_taken",
                "--nocapture",
            ])
            .env(ARGUMENTS, all.join("\n"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut process = Process(child);
        let client = broker.client().await;
        let instance = format!("echo.{instance}");
        let child = std::cell::RefCell::new(&mut process.0);
        until("the process answers", || async {
            child.borrow_mut().try_wait().unwrap().is_some() || answers(&client, &instance).await
        })
        .await;
        process
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
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

/// A value in a codec.
pub fn in_codec(codec: Codec, value: &Value) -> Bytes {
    codec.encode(value).unwrap()
}

/// The JSON value of a payload in either codec.
pub fn value(payload: &[u8]) -> Value {
    Codec::detect(payload).unwrap().unwrap().decode(payload).unwrap()
}
