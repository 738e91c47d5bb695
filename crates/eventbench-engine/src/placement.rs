//! Placement: which cores each role is kept to on this machine, and the process that keeps those cores awake.

use crate::engine::Engine;
use crate::linux;
use crate::probes::machine::cpu_quota;
use crate::provision::{Child, ProcessError, Spawner, Spec};
use eventbench_core::host::Clock;
use eventbench_core::plan::{Placement, PlacementName, PlacementSetting, Plan};
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// No role of "pinned" gets more cores: placement is for steadiness, and every core kept awake costs power and clock rate.
const MOST_CORES_A_ROLE: usize = 4;
/// How long the process that keeps cores awake may take to say that it does.
const AWAKE_LIMIT_NS: u64 = 20_000_000_000;
/// What it says then.
const AWAKE_WORD: &str = "awake";

/// Why a placement is not possible here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// There is nothing to spread over.
    #[error("placement \"pinned\": this machine lets eventbench have core {core} alone, so there is nothing to choose")]
    OneCore {
        /// The only core.
        core: usize,
    },
    /// The system has no affinity.
    #[error("placement: {cause}; leave `placement` out, or write \"free\"")]
    Unsupported {
        /// The system's answer.
        cause: String,
    },
    /// A core that is not there or not allowed.
    #[error(
        "placement: {role} is to be kept to core {core}, but eventbench may use {}; name one of these, or write \"pinned\"",
        listed(.allowed)
    )]
    NoSuchCore {
        /// Whose.
        role: &'static str,
        /// Which.
        core: usize,
        /// What there is.
        allowed: Vec<usize>,
    },
    /// A spinner would use up what the control group allows.
    #[error(
        "placement: `awake` would keep {cores} cores busy, and the control group allows {quota_cores} cores' worth of time: \
         it would be used up by that alone; leave `awake` out"
    )]
    Quota {
        /// Cores to be kept awake.
        cores: usize,
        /// The limit, in cores, as in "1.5".
        quota_cores: String,
    },
    /// It makes sense nowhere.
    #[error("{0}")]
    Senseless(String),
}

fn listed(cores: &[usize]) -> String {
    let numbers: Vec<String> = cores.iter().map(usize::to_string).collect();
    match numbers.len() {
        1 => format!("only core {}", numbers[0]),
        _ => format!("cores {}", numbers.join(", ")),
    }
}

/// The placement that a setting means where the cores `allowed` may be used; `None` where the kernel chooses.
///
/// # Errors
/// [`PlacementError::OneCore`] for "pinned" on one core, else a core number that is not among `allowed`, or a setting
/// that makes sense nowhere.
pub fn resolve(setting: &PlacementSetting, allowed: &[usize]) -> Result<Option<Placement>, PlacementError> {
    setting.check().map_err(PlacementError::Senseless)?;
    match setting {
        PlacementSetting::Named(PlacementName::Free) => Ok(None),
        PlacementSetting::Named(PlacementName::Pinned) => pinned(allowed).map(Some),
        PlacementSetting::Cores(placement) => {
            for (role, cores) in placement.roles() {
                if let Some(core) = cores.iter().find(|core| !allowed.contains(core)) {
                    return Err(PlacementError::NoSuchCore {
                        role,
                        core: *core,
                        allowed: allowed.to_vec(),
                    });
                }
            }
            Ok(Some(placement.clone()))
        }
    }
}

/// What "pinned" means on the cores `allowed`.
fn pinned(allowed: &[usize]) -> Result<Placement, PlacementError> {
    let (broker, services, instrument) = match allowed {
        [] => {
            return Err(PlacementError::Unsupported {
                cause: "no core may be used".to_owned(),
            });
        }
        [core] => return Err(PlacementError::OneCore { core: *core }),
        [first, second] => (vec![*first], vec![*second], vec![*second]),
        more => {
            let (third, rest) = (more.len() / 3, more.len() - more.len() / 3);
            let (broker, others) = more.split_at(third);
            let (services, instrument) = others.split_at(rest / 2);
            let few = |cores: &[usize]| cores.iter().take(MOST_CORES_A_ROLE).copied().collect();
            (few(broker), few(services), few(instrument))
        }
    };
    Ok(Placement {
        broker,
        services,
        instrument,
        awake: true,
    })
}

/// A plan's placement on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// For [`Engine::placement`] and the record's head.
    pub placement: Option<Placement>,
    /// What could not be had as it was asked for, and what happens instead; for the record's notes.
    pub notices: Vec<String>,
}

/// Settles the placement of a plan on this machine. What "pinned" cannot have here becomes a notice, so that one plan
/// serves large machines and small ones; a core list that cannot be had is refused.
///
/// # Errors
/// [`PlacementError`], for core lists only.
pub fn settle(plan: &Plan) -> Result<Settled, PlacementError> {
    let attached = plan.broker.nats.as_ref().is_some_and(|nats| nats.url.is_some());
    let allowed = linux::affinity().map_err(|e| e.to_string());
    settle_on(&plan.suite.placement, &allowed, cpu_quota(), attached)
}

/// [`settle`] for a machine that lets the cores `allowed` be used (or says why that is not known), under a control group
/// that allows `quota_cores` cores' worth of time, with a broker that is `attached` to rather than started.
///
/// # Errors
/// As [`settle`].
pub fn settle_on(
    setting: &PlacementSetting,
    allowed: &Result<Vec<usize>, String>,
    quota_cores: Option<f64>,
    attached: bool,
) -> Result<Settled, PlacementError> {
    if setting.is_free() {
        return Ok(Settled::default());
    }
    let by_name = matches!(setting, PlacementSetting::Named(_));
    let resolved = match allowed {
        Ok(allowed) => resolve(setting, allowed),
        Err(cause) => Err(PlacementError::Unsupported { cause: cause.clone() }),
    };
    let mut placement = match resolved {
        Ok(Some(placement)) => placement,
        Ok(None) => return Ok(Settled::default()),
        Err(why @ (PlacementError::OneCore { .. } | PlacementError::Unsupported { .. })) if by_name => {
            return Ok(Settled {
                placement: None,
                notices: vec![format!(
                    "{why}: the kernel places every role, and figures are as steady as that is"
                )],
            });
        }
        Err(why) => return Err(why),
    };
    let mut notices = Vec::new();
    let cores = placement.cores().len();
    if let Some(quota) = quota_cores
        && placement.awake
        && quota <= cores as f64
    {
        // The spinner takes all that nobody else wants, and the control group counts that like any other time.
        let why = PlacementError::Quota {
            cores,
            quota_cores: format!("{quota:.1}"),
        };
        if !by_name {
            return Err(why);
        }
        placement.awake = false;
        notices.push(format!(
            "{why}: the roles are kept to their cores, which may fall asleep"
        ));
    }
    if attached && !placement.broker.is_empty() {
        placement.broker.clear();
        notices.push(
            "placement: the broker was started by somebody else, so only services and instrument are kept to their cores"
                .to_owned(),
        );
    }
    Ok(Settled {
        placement: Some(placement),
        notices,
    })
}

/// Why a placement could not be put into force.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The instrument's own threads.
    #[error("the instrument cannot be kept to cores {cores:?}: {cause}; leave `instrument` out of `placement`")]
    Instrument {
        /// Which.
        cores: Vec<usize>,
        /// The system's answer.
        cause: io::Error,
    },
    /// The process that keeps cores awake could not be started.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// It ended or did not begin.
    #[error("the process that keeps the cores awake {what}{}; leave `awake` out of `placement`", .log.iter().map(|l| format!("\n  | {l}")).collect::<String>())]
    Awake {
        /// What it did.
        what: String,
        /// The last lines it wrote.
        log: Vec<String>,
    },
}

/// A placement in force: the thread that made it, and all that it starts from then on, are kept to the instrument's
/// cores, and the cores are kept awake. Dropped, the thread may run where it might before.
#[derive(Debug)]
pub struct Placed {
    before: Option<Vec<usize>>,
    awake: Option<Child>,
    // An affinity belongs to a thread, so it must be given back by the one that took it.
    of_one_thread: PhantomData<*const ()>,
}

impl Placed {
    /// Puts the engine's placement into force. Broker and services take their cores when they are started.
    ///
    /// # Errors
    /// [`ApplyError`]; nothing is changed then.
    pub fn apply(engine: &Engine<'_>, scratch: &Path) -> Result<Placed, ApplyError> {
        let mut placed = Placed {
            before: None,
            awake: None,
            of_one_thread: PhantomData,
        };
        let Some(placement) = &engine.placement else {
            return Ok(placed);
        };
        if placement.awake {
            // This very program: the one that is measured may be an older one, which does not know the command.
            let program = std::env::current_exe().unwrap_or_else(|_| engine.program.clone());
            placed.awake = Some(keep_awake(
                &program,
                &placement.cores(),
                scratch.join("awake.log"),
                || engine.stopped(),
            )?);
        }
        if !placement.instrument.is_empty() {
            let failed = |cause| ApplyError::Instrument {
                cores: placement.instrument.clone(),
                cause,
            };
            // Whoever starts processes must be there before, or those without cores of their own would inherit these.
            Spawner::global().map_err(failed)?;
            let before = linux::affinity().map_err(failed)?;
            linux::set_affinity(&placement.instrument).map_err(failed)?;
            placed.before = Some(before);
        }
        Ok(placed)
    }

    /// Whether the process that keeps the cores awake has ended unasked, and how.
    pub fn fell_asleep(&mut self) -> Option<String> {
        let child = self.awake.as_mut()?;
        let exit = child.try_wait().ok()??;
        Some(format!(
            "the process that keeps the cores awake {exit} in the middle of the run"
        ))
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // It was allowed before; should it not be any more, the thread only stays where it is.
            let _ = linux::set_affinity(before);
        }
    }
}

/// Starts the process that keeps `cores` awake (`eventbench awake`) and waits until it does. It is a process of its own so
/// that its time is neither the instrument's nor the system's, and a session of its own: in ours, the time that it takes
/// would be charged to broker, services and instrument, which would then wait behind whatever else wants the core.
fn keep_awake(program: &Path, cores: &[usize], log: PathBuf, stopped: impl Fn() -> bool) -> Result<Child, ApplyError> {
    let numbers: Vec<String> = cores.iter().map(usize::to_string).collect();
    let mut child = Child::spawn(Spec {
        name: "awake".to_owned(),
        program: program.to_owned(),
        args: vec!["awake".into(), "--cpus".into(), numbers.join(",").into()],
        log: Some(log),
        own_session: true,
        ..Spec::default()
    })?;
    let clock = Clock::Monotonic;
    let deadline_ns = clock.now_ns() + AWAKE_LIMIT_NS;
    loop {
        let log = child.tail(5);
        if log.iter().any(|line| line == AWAKE_WORD) {
            return Ok(child);
        }
        let what = match child.try_wait()? {
            Some(exit) => exit.to_string(),
            None if stopped() => "was not waited for".to_owned(),
            None if clock.now_ns() >= deadline_ns => {
                format!("did not begin within {} s", AWAKE_LIMIT_NS / 1_000_000_000)
            }
            None => {
                clock.sleep_until(clock.now_ns() + 500_000);
                continue;
            }
        };
        return Err(ApplyError::Awake {
            what,
            log: child.tail(5),
        });
    }
}

/// Keeps `cores` from falling asleep until the process is ended: one thread a core takes, at idle priority, all the time
/// that nobody else wants. `ready` is called once all of them are in place, with the word that the other side waits for.
///
/// # Errors
/// Returns only when a thread cannot be started, kept to its core or given idle priority.
pub fn stay_awake(cores: &[usize], ready: impl FnOnce(&str)) -> io::Error {
    let in_place = linux::give_way_as_session().and_then(|()| spinners(cores));
    match in_place {
        Ok(go) => {
            // The word comes first: at idle priority this thread may not be heard of for long.
            ready(AWAKE_WORD);
            if let Err(e) = linux::set_idle_priority(None) {
                return e;
            }
            drop(go);
            loop {
                std::thread::park();
            }
        }
        Err(e) => e,
    }
}

/// One thread a core, each kept to it and at idle priority, that spin as soon as the returned sender is dropped.
fn spinners(cores: &[usize]) -> io::Result<Vec<std::sync::mpsc::Sender<()>>> {
    let mut go = Vec::new();
    for core in cores {
        let core = *core;
        let (tell, told) = std::sync::mpsc::channel();
        let (start, started) = std::sync::mpsc::channel::<()>();
        std::thread::Builder::new()
            .name(format!("awake-{core}"))
            .spawn(move || {
                let placed = linux::set_affinity(&[core]);
                let ready = placed.is_ok();
                // Nobody listens only when the process is about to end.
                let _ = tell.send(placed.map(|()| linux::thread_id()));
                if ready {
                    let _ = started.recv();
                    loop {
                        std::hint::spin_loop();
                    }
                }
            })?;
        let thread = told
            .recv()
            .map_err(|_| io::Error::other("a thread of the spinner ended"))??;
        // Set from here, since a thread of idle priority may have to wait long until it could tell that it has it.
        linux::set_idle_priority(Some(thread))?;
        go.push(start);
    }
    Ok(go)
}

#[cfg(test)]
mod tests;
