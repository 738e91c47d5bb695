//! A guard around a started process: it is stopped, with all of its group, on every way out.
//!
//! Three things see to that: dropping the guard kills the group; the kernel kills the child when this process dies
//! without dropping anything (Linux, see [`crate::linux::tie_to_this_process`]); and the group catches what a shell in
//! between has started. Only processes that were started here are ever signalled: a signal goes out only while the
//! child is not reaped, so its number cannot belong to another.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::spawner::Spawner;
use super::tail;
use crate::linux::{self, ExitFd, monotonic_ns};

/// How long a process may take to disappear after SIGKILL. Only one stuck in the kernel takes longer.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// How the exit is looked for where no handle wakes the waiter.
const POLL_NS: u64 = 500_000;

/// How long a process may take to stand still after SIGSTOP, and how often that is looked at.
const PAUSE_LIMIT_NS: u64 = 10_000_000_000;
const PAUSE_LOOK_NS: u64 = 50_000;

/// What to start and where its output goes.
#[derive(Debug, Clone, Default)]
pub struct Spec {
    /// The name for messages, as the plan gives it.
    pub name: String,
    /// The program: a path, or a name that is looked up on `PATH`.
    pub program: PathBuf,
    /// Its arguments, without the program itself.
    pub args: Vec<OsString>,
    /// Variables set on top of the environment of this process.
    pub env: Vec<(OsString, OsString)>,
    /// The directory it runs in; this process's own when `None`.
    pub cwd: Option<PathBuf>,
    /// The file that both its outputs are appended to, made when missing; they are discarded when `None`.
    pub log: Option<PathBuf>,
    /// The CPUs it is bound to (Linux); `None` leaves it to the kernel.
    pub cpus: Option<Vec<usize>>,
    /// Whether it begins a session of its own (Linux), which the kernel may weigh apart from that of this process.
    pub own_session: bool,
}

/// Why a process could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The log file cannot be opened for writing.
    #[error("cannot write the log of {name}, {}: {cause}; choose a directory that is writable", path.display())]
    Log {
        /// The process, as the plan names it.
        name: String,
        /// The log file.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// The directory to run in is not there.
    #[error("cannot start {name} in {}: {cause}", path.display())]
    Directory {
        /// The process, as the plan names it.
        name: String,
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// The program cannot be executed.
    #[error("cannot start {name} ({}): {cause}{}", program.display(), advice(cause))]
    Spawn {
        /// The process, as the plan names it.
        name: String,
        /// The program.
        program: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// A signal could not be sent, or the exit not be read.
    #[error("cannot {action} {name} (pid {pid}): {cause}")]
    Control {
        /// What was tried.
        action: &'static str,
        /// The process, as the plan names it.
        name: String,
        /// Its process id.
        pid: u32,
        /// The system's answer.
        cause: io::Error,
    },
    /// It is still there after SIGKILL.
    #[error("{name} (pid {pid}) is still there {} s after SIGKILL: it hangs in the kernel (often a dead disk or network file system)", KILL_LIMIT.as_secs())]
    StillThere {
        /// The process, as the plan names it.
        name: String,
        /// Its process id.
        pid: u32,
    },
}

fn advice(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::NotFound => "; check the path, and that the interpreter named in its first line exists",
        io::ErrorKind::PermissionDenied => "; make the file executable (chmod +x)",
        io::ErrorKind::InvalidInput => "; check the CPUs it is bound to",
        _ if cause.raw_os_error() == Some(libc::ENOEXEC) => "; it is no program for this system",
        _ => "",
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code, when it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The instant at which its end was seen, in nanoseconds of the monotonic clock.
    pub seen_at_ns: u64,
}

impl Exit {
    fn of(status: ExitStatus, seen_at_ns: u64) -> Self {
        Self {
            code: status.code(),
            signal: status.signal(),
            seen_at_ns,
        }
    }

    /// Whether it ended by itself with code 0.
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code, self.signal) {
            (Some(0), _) => write!(f, "ended normally"),
            (Some(126), _) => write!(f, "ended with code 126 (found but not executable)"),
            (Some(127), _) => write!(f, "ended with code 127 (command not found)"),
            (Some(code), _) => write!(f, "ended with code {code}"),
            (None, Some(signal)) => match signal_words(signal) {
                Some(words) => write!(f, "was ended by {words}"),
                None => write!(f, "was ended by signal {signal}"),
            },
            (None, None) => write!(f, "ended in an unknown way"),
        }
    }
}

fn signal_words(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGHUP => "SIGHUP (terminal closed)",
        libc::SIGINT => "SIGINT (interrupted)",
        libc::SIGQUIT => "SIGQUIT (quit)",
        libc::SIGILL => "SIGILL (illegal instruction: built for another CPU?)",
        libc::SIGABRT => "SIGABRT (it gave up by itself: see its log)",
        libc::SIGBUS => "SIGBUS (bad memory access, or a mapped file was cut short)",
        libc::SIGFPE => "SIGFPE (arithmetic error)",
        libc::SIGKILL => "SIGKILL (killed, or out of memory)",
        libc::SIGSEGV => "SIGSEGV (bad memory access)",
        libc::SIGPIPE => "SIGPIPE (its reader went away)",
        libc::SIGTERM => "SIGTERM (asked to stop)",
        libc::SIGXCPU => "SIGXCPU (CPU time limit)",
        libc::SIGXFSZ => "SIGXFSZ (file size limit)",
        _ => return None,
    })
}

/// How a stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopReport {
    /// When SIGTERM (or SIGKILL, for [`Child::kill`]) was sent, in nanoseconds of the monotonic clock; `None` when the
    /// process had ended before by itself.
    pub signal_sent_at_ns: Option<u64>,
    /// From the signal to the seen end, in nanoseconds; 0 when it had ended before.
    pub took_ns: u64,
    /// Whether it had to be killed: SIGTERM did not end it in time, or [`Child::kill`] was asked for.
    pub killed: bool,
    /// How it ended.
    pub exit: Exit,
}

/// What the kernel says of a child that this process has not reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Running,
    /// All its threads stand still (SIGSTOP has taken effect).
    Stopped,
    /// Ended; its exit status waits, so its number is still its own.
    Ended,
    /// Not our child any more: where SIGCHLD is ignored the kernel reaps by itself. Its number may be another's.
    Lost,
}

fn standing(pid: Pid) -> Standing {
    let options = WaitIdOptions::EXITED | WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match rustix::process::waitid(WaitId::Pid(pid), options) {
        Ok(Some(status)) if status.stopped() => Standing::Stopped,
        Ok(Some(_)) => Standing::Ended,
        Err(rustix::io::Errno::CHILD) => Standing::Lost,
        Ok(None) | Err(_) => Standing::Running,
    }
}

fn has_exited(pid: Pid) -> bool {
    matches!(standing(pid), Standing::Ended | Standing::Lost)
}

/// A started process and the duty to stop it.
#[derive(Debug)]
pub struct Child {
    name: String,
    pid: Pid,
    inner: std::process::Child,
    exit_fd: Option<ExitFd>,
    log: Option<(PathBuf, u64)>,
    started_at_ns: u64,
    exit: Option<Exit>,
    paused: bool,
}

impl Child {
    /// Starts what `spec` says. The process is a child of the [`Spawner`] thread, so any thread may call this.
    ///
    /// # Errors
    /// [`ProcessError::Log`], [`ProcessError::Directory`] or [`ProcessError::Spawn`]; nothing is left running then.
    // Processes are started here and nowhere else: this is the place that the rule points to.
    #[allow(clippy::disallowed_methods)]
    pub fn spawn(spec: Spec) -> Result<Self, ProcessError> {
        let Spec {
            name,
            program,
            args,
            env,
            cwd,
            log,
            cpus,
            own_session,
        } = spec;
        let mut command = std::process::Command::new(&program);
        command.args(&args).envs(env).stdin(Stdio::null());
        if let Some(path) = &cwd {
            let is_dir = |meta: std::fs::Metadata| match meta.is_dir() {
                true => Ok(()),
                false => Err(io::Error::from(io::ErrorKind::NotADirectory)),
            };
            if let Err(cause) = std::fs::metadata(path).and_then(is_dir) {
                return Err(ProcessError::Directory {
                    name,
                    path: path.clone(),
                    cause,
                });
            }
            command.current_dir(path);
        }
        let log = match log {
            None => {
                command.stdout(Stdio::null()).stderr(Stdio::null());
                None
            }
            Some(path) => match open_log(&path) {
                Ok((out, err, start)) => {
                    command.stdout(out).stderr(err);
                    Some((path, start))
                }
                Err(cause) => return Err(ProcessError::Log { name, path, cause }),
            },
        };
        let started = linux::tie_to_this_process(&mut command, cpus.as_deref(), own_session)
            .and_then(|()| Spawner::global())
            .and_then(|spawner| spawner.spawn(command))
            .and_then(
                |mut inner| match i32::try_from(inner.id()).ok().and_then(Pid::from_raw) {
                    Some(pid) => Ok((pid, inner)),
                    None => {
                        inner.kill()?;
                        Err(io::Error::other("the system gave it an impossible process id"))
                    }
                },
            );
        match started {
            Ok((pid, inner)) => Ok(Self {
                name,
                pid,
                inner,
                exit_fd: ExitFd::open(pid),
                log,
                started_at_ns: monotonic_ns(),
                exit: None,
                paused: false,
            }),
            Err(cause) => Err(ProcessError::Spawn { name, program, cause }),
        }
    }

    /// The name for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id. After the end of the process it may belong to another one.
    pub fn pid(&self) -> u32 {
        self.inner.id()
    }

    /// When the start had been made, in nanoseconds of the monotonic clock.
    pub fn started_at_ns(&self) -> u64 {
        self.started_at_ns
    }

    /// Its end, if it has ended; never waits. What is left of its group is killed then.
    ///
    /// # Errors
    /// [`ProcessError::Control`] when the exit cannot be read.
    pub fn try_wait(&mut self) -> Result<Option<Exit>, ProcessError> {
        if self.exit.is_none() && has_exited(self.pid) {
            self.reap(monotonic_ns())?;
        }
        Ok(self.exit)
    }

    /// Waits for its end, no longer than `limit`; `None` when it still runs then.
    ///
    /// # Errors
    /// [`ProcessError::Control`] when the exit cannot be read.
    pub fn wait(&mut self, limit: Duration) -> Result<Option<Exit>, ProcessError> {
        if self.exit.is_none() && self.sees_exit(limit) {
            self.reap(monotonic_ns())?;
        }
        Ok(self.exit)
    }

    /// Asks it to end (SIGTERM to the process, so that it can end its own workers in order), and after `grace` kills
    /// its group. A paused process is woken to hear it.
    ///
    /// # Errors
    /// [`ProcessError::Control`], or [`ProcessError::StillThere`] when even SIGKILL does not end it.
    pub fn stop(&mut self, grace: Duration) -> Result<StopReport, ProcessError> {
        if let Some(exit) = self.try_wait()? {
            return Ok(StopReport {
                signal_sent_at_ns: None,
                took_ns: 0,
                killed: false,
                exit,
            });
        }
        let sent_at_ns = monotonic_ns();
        rustix::process::kill_process(self.pid, Signal::TERM).map_err(|e| self.control("stop", e.into()))?;
        if self.paused {
            self.signal("resume", Signal::CONT, rustix::process::kill_process_group)?;
            self.paused = false;
        }
        let killed = !self.sees_exit(grace);
        self.end(sent_at_ns, killed)
    }

    /// Kills its group at once (SIGKILL), as a crash would.
    ///
    /// # Errors
    /// As [`Child::stop`].
    pub fn kill(&mut self) -> Result<StopReport, ProcessError> {
        if let Some(exit) = self.try_wait()? {
            return Ok(StopReport {
                signal_sent_at_ns: None,
                took_ns: 0,
                killed: false,
                exit,
            });
        }
        let sent_at_ns = monotonic_ns();
        self.end(sent_at_ns, true)
    }

    /// Freezes its group (SIGSTOP): connections stay open, nothing answers. Gives an instant from which on all its
    /// threads stood still, in nanoseconds of the monotonic clock; a signal takes effect only some time after it is
    /// sent, and until then the process still answers.
    ///
    /// # Errors
    /// [`ProcessError::Control`], also when the process has ended or does not stand still within ten seconds.
    pub fn pause(&mut self) -> Result<u64, ProcessError> {
        // The leader first, alone: were its group stopped together, a worker caught between vfork and exec would hold
        // the leader in the kernel, and that would never be seen to stand still.
        let sent_at_ns = self.signal("pause", Signal::STOP, rustix::process::kill_process)?;
        self.paused = true;
        loop {
            match standing(self.pid) {
                Standing::Stopped => return self.signal("pause", Signal::STOP, rustix::process::kill_process_group),
                Standing::Running if monotonic_ns() < sent_at_ns + PAUSE_LIMIT_NS => {
                    linux::sleep_until_ns(monotonic_ns() + PAUSE_LOOK_NS);
                }
                Standing::Running => return Err(self.control("pause", io::ErrorKind::TimedOut.into())),
                Standing::Ended | Standing::Lost => {
                    return Err(self.control("pause", io::Error::other("it ended at that moment")));
                }
            }
        }
    }

    /// Lets a paused group go on (SIGCONT). Gives the instant of the signal in nanoseconds of the monotonic clock.
    ///
    /// # Errors
    /// [`ProcessError::Control`], also when the process has ended.
    pub fn resume(&mut self) -> Result<u64, ProcessError> {
        let at_ns = self.signal("resume", Signal::CONT, rustix::process::kill_process_group)?;
        self.paused = false;
        Ok(at_ns)
    }

    /// The last `lines` lines that it wrote since this start, fit to be quoted: control sequences removed, long lines
    /// cut, no more than the last 64 KiB. Empty without a log.
    pub fn tail(&self, lines: usize) -> Vec<String> {
        let Some((path, start)) = &self.log else {
            return Vec::new();
        };
        // A log that cannot be read back must not hide the error it was to explain.
        tail::tail(path, *start, lines).unwrap_or_default()
    }

    /// The file its outputs go to.
    pub fn log(&self) -> Option<&Path> {
        self.log.as_ref().map(|(path, _)| path.as_path())
    }

    fn end(&mut self, sent_at_ns: u64, killed: bool) -> Result<StopReport, ProcessError> {
        if killed {
            // An error means that it ended between the question and the signal.
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
            if !self.sees_exit(KILL_LIMIT) {
                return Err(ProcessError::StillThere {
                    name: self.name.clone(),
                    pid: self.pid(),
                });
            }
        }
        let seen_at_ns = monotonic_ns();
        let exit = self.reap(seen_at_ns)?;
        Ok(StopReport {
            signal_sent_at_ns: Some(sent_at_ns),
            took_ns: seen_at_ns.saturating_sub(sent_at_ns),
            killed,
            exit,
        })
    }

    /// Whether it has ended, unreaped; waits for that no longer than `limit`.
    fn sees_exit(&self, limit: Duration) -> bool {
        let end_ns = monotonic_ns().saturating_add(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX));
        loop {
            if has_exited(self.pid) {
                return true;
            }
            let now_ns = monotonic_ns();
            if now_ns >= end_ns {
                return false;
            }
            match &self.exit_fd {
                Some(fd) => fd.sleep(end_ns - now_ns),
                None => linux::sleep_until_ns(end_ns.min(now_ns + POLL_NS)),
            }
        }
    }

    /// Kills what is left of the group and takes the exit status: the only place that reaps. While the leader is not
    /// reaped its number is taken, so the signal cannot hit a stranger's group.
    fn reap(&mut self, seen_at_ns: u64) -> Result<Exit, ProcessError> {
        let exit = if standing(self.pid) == Standing::Lost {
            Exit {
                code: None,
                signal: None,
                seen_at_ns,
            }
        } else {
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
            let status = self.inner.wait();
            Exit::of(
                status.map_err(|cause| self.control("read the exit of", cause))?,
                seen_at_ns,
            )
        };
        self.exit = Some(exit);
        Ok(exit)
    }

    /// Sends `signal` by `send`, to the process or to its group, and gives the instant of it.
    fn signal(
        &mut self,
        action: &'static str,
        signal: Signal,
        send: fn(Pid, Signal) -> rustix::io::Result<()>,
    ) -> Result<u64, ProcessError> {
        if let Some(exit) = self.try_wait()? {
            return Err(self.control(action, io::Error::other(format!("it {exit} before"))));
        }
        let at_ns = monotonic_ns();
        send(self.pid, signal).map_err(|e| self.control(action, e.into()))?;
        Ok(at_ns)
    }

    fn control(&self, action: &'static str, cause: io::Error) -> ProcessError {
        ProcessError::Control {
            action,
            name: self.name.clone(),
            pid: self.pid(),
            cause,
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.exit.is_none() {
            // Nobody is left to tell of a failure; a process that hangs in the kernel must not hang this one too.
            let _ = self.kill();
        }
    }
}

/// The log opened twice for appending, and where this run begins in it.
fn open_log(path: &Path) -> io::Result<(File, File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let start = file.metadata()?.len();
    Ok((file.try_clone()?, file, start))
}
