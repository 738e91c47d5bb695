//! The HTTP server: a thread of its own with a runtime of its own, which reads the state and nothing else.

use super::exposition::{page_state, prometheus};
use super::live::Live;
use crate::host::Machine;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use eventbench_core::host::Host as _;
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// What is shared with the run.
pub type Shared = Arc<Mutex<Live>>;

/// How long an answer under way may still take when the program wants to end.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// Nothing but what this server itself sends may run or be loaded by the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'";

const PAGE: &str = include_str!("page/index.html");
const SCRIPT: &str = include_str!("page/live.js");
const STYLE: &str = include_str!("page/live.css");

/// The server; it ends when this is dropped.
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves the state on a listener that is bound already.
    ///
    /// # Errors
    /// When there can be no runtime or no thread.
    pub fn start(listener: TcpListener, live: Shared) -> io::Result<Server> {
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let (ended, was_ended) = oneshot::channel::<()>();
            let graceful = axum::serve(listener, router(live)).with_graceful_shutdown(async move {
                // A sender that is gone means the same.
                let _ = stopped.await;
                let _ = ended.send(());
            });
            tokio::select! {
                served = graceful => served,
                // Somebody who keeps a connection open must not keep the program.
                () = async { let _ = was_ended.await; tokio::time::sleep(LAST_ANSWER).await } => Ok(()),
            }
        };
        let thread = std::thread::Builder::new().name("metrics".to_owned()).spawn(move || {
            // The run goes on without its metrics: they are no part of what is measured.
            if let Err(e) = runtime.block_on(serve) {
                crate::cli::error(&format!("warning: the metrics are no longer served: {e}"));
            }
        })?;
        Ok(Server {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn router(live: Shared) -> Router {
    Router::new()
        .route("/", get(|| async { file("text/html; charset=utf-8", PAGE) }))
        .route(
            "/live.js",
            get(|| async { file("text/javascript; charset=utf-8", SCRIPT) }),
        )
        .route("/live.css", get(|| async { file("text/css; charset=utf-8", STYLE) }))
        .route("/live.json", get(state))
        .route("/metrics", get(metrics))
        .with_state(live)
}

/// A copy, so that nobody waits for a text that is being made.
fn copy(live: &Shared) -> Live {
    live.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

async fn metrics(State(live): State<Shared>) -> Response {
    match prometheus(&copy(&live), Machine.clock().now_ns()) {
        Ok(text) => file("text/plain; version=0.0.4; charset=utf-8", text),
        Err(why) => (StatusCode::INTERNAL_SERVER_ERROR, why).into_response(),
    }
}

async fn state(State(live): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let after = query
        .as_deref()
        .and_then(|q| q.strip_prefix("after="))
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    let json = page_state(&copy(&live), after, Machine.clock().now_ns());
    file("application/json", json.to_string())
}

fn file(content_type: &'static str, body: impl IntoResponse) -> Response {
    let headers: [(HeaderName, &'static str); 5] = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let headers: HeaderMap = headers
        .into_iter()
        .map(|(name, value)| (name, HeaderValue::from_static(value)))
        .collect();
    (headers, body).into_response()
}
