//! The methods of the orchestrator. They check a request and hand it to the engine, which has a thread of its own.

use super::engine::Job;
use super::outcome::Wanted;
use super::state::State;
use crate::kit::method::{Call, Method};
use crate::kit::reply::Answer;
use crate::platform::monotonic_ns;
use crate::workflow::hops::Times;
use crate::workflow::request::{Request, refused};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

/// What the engine is asked to do.
pub(crate) enum Order {
    Job(Box<Job>),
    Standing {
        id: String,
        answer: oneshot::Sender<Answer>,
    },
    Wish {
        id: String,
        to: State,
        reason: String,
        answer: oneshot::Sender<Answer>,
    },
    Stats {
        answer: oneshot::Sender<Answer>,
    },
}

/// The way to the engine.
pub(crate) type Orders = mpsc::UnboundedSender<Order>;

#[derive(Debug, Default, Deserialize)]
struct Which {
    id: String,
}

#[derive(Debug, Deserialize)]
struct Wish {
    id: String,
    to: State,
    #[serde(default = "no_reason")]
    reason: String,
}

fn no_reason() -> String {
    "ended by an operator".to_owned()
}

impl Default for Wish {
    fn default() -> Wish {
        Wish {
            id: String::new(),
            to: State::Failed,
            reason: no_reason(),
        }
    }
}

/// `run`, `submit`, `get`, `transition` and `stats`.
pub(crate) fn methods(orders: &Orders, max_content_bytes: usize) -> Vec<Method> {
    let take = |submit: bool| {
        let orders = orders.clone();
        move |call: Call| {
            let orders = orders.clone();
            async move { take(&orders, call, submit, max_content_bytes).await }
        }
    };
    let (get, transition, stats) = (orders.clone(), orders.clone(), orders.clone());
    vec![
        Method::waiting("run", take(false)),
        Method::waiting("submit", take(true)),
        Method::waiting("get", move |call| {
            let orders = get.clone();
            async move {
                let Which { id } = call.parameters()?;
                ask(&orders, |answer| Order::Standing { id, answer }).await
            }
        }),
        Method::waiting("transition", move |call| {
            let orders = transition.clone();
            async move {
                let Wish { id, to, reason } = call.parameters()?;
                ask(&orders, |answer| Order::Wish { id, to, reason, answer }).await
            }
        }),
        Method::waiting("stats", move |_| {
            let orders = stats.clone();
            async move { ask(&orders, |answer| Order::Stats { answer }).await }
        }),
    ]
}

async fn take(orders: &Orders, call: Call, submit: bool, max_content_bytes: usize) -> Answer {
    let started_ns = monotonic_ns();
    let times = Times::of(call.headers.as_ref());
    let wanted = Wanted::of(&Request::read(&call.payload, max_content_bytes)?, times.intended_ns);
    ask(orders, |answer| {
        Order::Job(Box::new(Job {
            wanted,
            payload: call.payload,
            received_ns: call.received_ns,
            started_ns,
            submit,
            answer,
        }))
    })
    .await
}

async fn ask(orders: &Orders, order: impl FnOnce(oneshot::Sender<Answer>) -> Order) -> Answer {
    let gone = || refused(503, "ending", "the orchestrator is ending".to_owned());
    let (answer, answered) = oneshot::channel();
    orders.send(order(answer)).map_err(|_| gone())?;
    answered.await.unwrap_or_else(|_| Err(gone()))
}
