//! The HTTP interface: which request is answered how.

use super::input::{self, Asked};
use super::metrics;
use super::pipeline::Recipe;
use super::refusal::Refusal;
use super::stream::Run;
use super::worker::Worker;
use super::workflow::Workflow;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use futures_util::StreamExt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

const RUNS: &str = "/api/copilotkit";
const HEALTH: &str = "/api/copilotkit/health";
const METRICS: &str = "/metrics";

/// Longest time that a client may take to send the body of its request.
const BODY_LIMIT: Duration = Duration::from_secs(30);

/// Answers one request.
pub(crate) async fn answer(worker: Arc<Worker>, request: Request) -> Response {
    let read = matches!(*request.method(), Method::GET | Method::HEAD);
    let (refusal, allowed) = match request.uri().path() {
        RUNS if request.method() == Method::POST => match run(&worker, request).await {
            Ok(response) => return response,
            Err(refusal) => (refusal, None),
        },
        HEALTH if read => return health(&worker),
        METRICS if read => return metrics_text(&worker),
        RUNS => (wrong_method(&request, "POST"), Some("POST")),
        HEALTH | METRICS => (wrong_method(&request, "GET"), Some("GET, HEAD")),
        _ => {
            let refusal = Refusal::new(
                StatusCode::NOT_FOUND,
                "not_found",
                "there is nothing at this path",
                format!("POST a run to {RUNS}, GET {HEALTH} or {METRICS}"),
            );
            (refusal, None)
        }
    };
    worker.shard.refused(refusal.status.as_u16());
    refusal.response(allowed)
}

fn wrong_method(request: &Request, right: &str) -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "wrong_method",
        format!("{} is not answered here", request.method()),
        format!("use {right}"),
    )
}

fn health(worker: &Worker) -> Response {
    let shared = &worker.shared;
    let (status, word) = if shared.draining.load(Relaxed) {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else {
        (StatusCode::OK, "ok")
    };
    let open = shared.open_runs.load(Relaxed);
    let accounts = shared.directory.len();
    let body = format!("{{\"status\":\"{word}\",\"open_runs\":{open},\"accounts\":{accounts}}}");
    with_type(status, "application/json", Body::from(body))
}

fn metrics_text(worker: &Worker) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    with_type(StatusCode::OK, kind, Body::from(metrics::text(&worker.shared.registry)))
}

fn with_type(status: StatusCode, kind: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

async fn run(worker: &Arc<Worker>, request: Request) -> Result<Response, Refusal> {
    let resume = Resume::of(&request)?;
    check_headers(request.headers())?;
    let body = tokio::time::timeout(BODY_LIMIT, read(request.into_body(), worker.shared.max_body))
        .await
        .map_err(|_| {
            Refusal::new(
                StatusCode::REQUEST_TIMEOUT,
                "slow_body",
                format!("the body did not arrive within {BODY_LIMIT:?}"),
                "send as many bytes as Content-Length says",
            )
        })??;
    if worker.shared.draining.load(Relaxed) {
        return Err(Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "draining",
            "the service is shutting down",
            "try again after the time in Retry-After, on a new connection",
        ));
    }
    let recipe = recipe(worker, input::parse(&body)?, resume.after)?;
    let Some(open) = worker.open_run(recipe.workflow) else {
        return Err(Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_runs",
            format!(
                "{} runs are open, which is the most there may be",
                worker.shared.max_runs
            ),
            "try again after the time in Retry-After, or start the service with a larger --max-runs",
        ));
    };
    if resume.numbered {
        let mut kept = worker.shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.keep(&recipe);
    }
    let Some(run) = Run::new(worker, open, recipe, resume.after, resume.numbered) else {
        // Nothing comes after that event: the status that tells an EventSource to stop.
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    };
    let mut response = with_type(StatusCode::OK, "text/event-stream", run.body());
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// What a request says about being taken up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Resume {
    /// Number of the last event that the client knows.
    after: Option<u64>,
    /// Whether events are to carry their numbers.
    numbered: bool,
}

impl Resume {
    fn of(request: &Request) -> Result<Resume, Refusal> {
        let after = match request.headers().get("last-event-id") {
            None => None,
            Some(value) => {
                let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
                Some(number.ok_or_else(|| {
                    Refusal::bad_request(
                        "bad_last_event_id",
                        "Last-Event-ID is not the id of an event",
                        "send the number in the last id line that came, or leave the header out to start anew",
                    )
                })?)
            }
        };
        let asked = |query: &str| query.split('&').any(|pair| pair == "resume=1" || pair == "resume=true");
        Ok(Resume {
            after,
            numbered: after.is_some() || request.uri().query().is_some_and(asked),
        })
    }
}

fn check_headers(headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name| {
        headers
            .get(name)
            .map(|value: &HeaderValue| value.to_str().unwrap_or_default())
    };
    let kind = text(CONTENT_TYPE).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let shown: String = kind.chars().take(80).collect();
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not_json",
            format!("the body's Content-Type is {shown:?}"),
            "send JSON with Content-Type: application/json",
        ));
    }
    let takes_stream = |accept: &str| {
        accept.split(',').any(|range| {
            let essence = range.split(';').next().unwrap_or_default().trim();
            ["text/event-stream", "text/*", "*/*"]
                .iter()
                .any(|good| essence.eq_ignore_ascii_case(good))
        })
    };
    if !text(ACCEPT).is_none_or(takes_stream) {
        return Err(Refusal::new(
            StatusCode::NOT_ACCEPTABLE,
            "no_stream_accepted",
            "a run is answered by text/event-stream, which Accept leaves out",
            "send Accept: text/event-stream",
        ));
    }
    Ok(())
}

/// Reads a body of at most `most` bytes.
async fn read(body: Body, most: usize) -> Result<Bytes, Refusal> {
    let too_large = || {
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("the body is larger than {most} bytes"),
            "send less, or start the service with a larger --max-body",
        )
    };
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    let mut chunks = body.into_data_stream();
    let mut whole = Bytes::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|cause| {
            Refusal::bad_request(
                "broken_body",
                format!("the body broke off: {cause}"),
                "send as many bytes as Content-Length says",
            )
        })?;
        if whole.len() + chunk.len() > most {
            return Err(too_large());
        }
        // Nearly always there is one chunk, and nothing is copied.
        whole = if whole.is_empty() {
            chunk
        } else {
            [whole, chunk].concat().into()
        };
    }
    Ok(whole)
}

/// Completes a request, or finds the one that is to be taken up again.
fn recipe(worker: &Worker, asked: Asked, after: Option<u64>) -> Result<Recipe, Refusal> {
    let shared = &worker.shared;
    if after.is_some() {
        let (Some(thread_id), Some(run_id)) = (&asked.thread_id, &asked.run_id) else {
            return Err(Refusal::bad_request(
                "missing_id",
                "a run is taken up again by its ids, and they are not both there",
                "send threadId and runId as in the first request",
            ));
        };
        let kept = shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut recipe) = kept.get(thread_id, run_id) {
            let other_workflow = asked.workflow.is_some_and(|workflow| workflow != recipe.workflow);
            if other_workflow || (asked.account.is_some() && asked.account != recipe.account) {
                return Err(Refusal::new(
                    StatusCode::CONFLICT,
                    "other_run",
                    "the run of these ids had another workflow or account",
                    "send what the first request said, or leave Last-Event-ID out and take another runId",
                ));
            }
            recipe.pace = asked.pace.unwrap_or(recipe.pace);
            return Ok(recipe);
        }
        if asked.workflow.is_none() {
            return Err(Refusal::new(
                StatusCode::NOT_FOUND,
                "unknown_run",
                "no run of these ids is kept",
                "send the whole first request again: a run depends on nothing else",
            ));
        }
    }
    let Some(workflow) = asked.workflow else {
        return Err(Refusal::bad_request(
            "missing_workflow",
            "neither a workflow nor a user's message says what to do",
            format!("set workflow to one of {}", Workflow::names()),
        ));
    };
    if workflow.needs_account() && asked.account.is_none() {
        return Err(Refusal::bad_request(
            "missing_account",
            format!("{} is about one account, and none is named", workflow.name()),
            "set account_id, or name one in the last message, as in ACC-000001",
        ));
    }
    let named = |given: Option<String>, kind: &str| {
        given.unwrap_or_else(|| {
            let number = shared.unnamed_runs.fetch_add(1, Relaxed);
            format!("{kind}-{:x}-{number}", shared.started_ns)
        })
    };
    Ok(Recipe {
        workflow,
        account: asked.account,
        thread_id: named(asked.thread_id, "thread"),
        run_id: named(asked.run_id, "run"),
        pace: asked.pace.unwrap_or(shared.pace),
    })
}
