//! The methods of the service, one for each question that a benchmark of RPC asks.

use super::args::Args;
use crate::kit::burn;
use crate::kit::commands::{Command, Work};
use crate::kit::method::Method;
use crate::kit::reply::ErrorReply;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;

/// Most CPU time that one call may ask for; such a call cannot be interrupted.
const MOST_CPU: Duration = Duration::from_secs(10);
/// Most steps of one command.
const MOST_STEPS: u64 = 100_000;

/// Parameters of `slow`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Slow {
    delay_ms: Option<u64>,
}

/// Parameters of `burn`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Burn {
    cpu_us: Option<u64>,
}

/// Parameters of `fail`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fail {
    code: Option<u16>,
    message: Option<String>,
    details: Value,
}

/// Parameters of `sum`.
#[derive(Debug, Default, Deserialize)]
struct Sum {
    values: Vec<f64>,
}

#[derive(Debug, Serialize)]
struct Summed {
    sum: f64,
    count: usize,
}

/// All methods but `health`, which the kit adds.
pub(crate) fn methods(args: &Args) -> Vec<Method> {
    let (slow_call, burn_call) = (args.slow_call, args.burn_call);
    let me = json!({ "service": args.name, "instance": args.instance(), "pid": std::process::id() });
    vec![
        // Not decoded: what the payload is makes no difference to it.
        Method::instant("echo", |call| Ok(call.payload.clone())),
        Method::instant("whoami", move |call| call.answer(&me)),
        Method::instant("sum", |call| {
            let Sum { values } = call.parameters()?;
            call.answer(&Summed {
                sum: values.iter().sum(),
                count: values.len(),
            })
        }),
        // Decoded and encoded again, whatever it holds: the cost of a codec.
        Method::instant("mirror", |call| {
            let whole: Value = call.parameters()?;
            call.answer(&whole)
        }),
        Method::instant("fail", |call| {
            let Fail { code, message, details } = call.parameters()?;
            Err(ErrorReply {
                code: code.unwrap_or(500),
                message: message.unwrap_or_else(|| "failed as asked".to_owned()),
                details,
            })
        }),
        Method::waiting("slow", move |call| async move {
            let asked: Slow = call.parameters()?;
            let delay = asked.delay_ms.map_or(slow_call, Duration::from_millis);
            tokio::time::sleep(delay).await;
            call.answer(&json!({ "delay_ms": u64::try_from(delay.as_millis()).unwrap_or(u64::MAX) }))
        }),
        Method::blocking("burn", move |call| {
            let asked: Burn = call.parameters()?;
            let cpu = asked.cpu_us.map_or(burn_call, Duration::from_micros);
            if cpu > MOST_CPU {
                return Err(ErrorReply::new(
                    400,
                    format!("at most {} µs of CPU time", MOST_CPU.as_micros()),
                ));
            }
            burn(cpu);
            call.answer(&json!({ "cpu_us": u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX) }))
        }),
    ]
}

/// Parameters of the command `count`.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Count {
    steps: u64,
    pause_ms: u64,
    fail_at: Option<u64>,
}

impl Default for Count {
    fn default() -> Count {
        Count {
            steps: 10,
            pause_ms: 0,
            fail_at: None,
        }
    }
}

/// The commands: `count` takes steps with a pause before each, tells its progress, and fails where it is asked to.
pub(crate) fn command(command: Command) -> Work {
    Box::pin(async move {
        if command.name != "count" {
            return Err(ErrorReply::new(404, format!("there is no command {}", command.name)));
        }
        let count: Count = command.parameters()?;
        if count.steps > MOST_STEPS {
            return Err(ErrorReply::new(400, format!("at most {MOST_STEPS} steps")));
        }
        for step in 1..=count.steps {
            if count.pause_ms > 0 {
                tokio::time::sleep(Duration::from_millis(count.pause_ms)).await;
            }
            if count.fail_at == Some(step) {
                return Err(ErrorReply::new(500, format!("failed at step {step} as asked")));
            }
            command.progress(step, count.steps).await;
        }
        Ok(json!({ "steps": count.steps }))
    })
}
