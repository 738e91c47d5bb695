//! A method of a service: its name, how it is run, and what has become of its calls.

use super::codec::{Codec, decode_any};
use super::reply::{Answer, ErrorReply};
use async_nats::HeaderMap;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// One call, as a method sees it.
#[derive(Clone, Debug)]
pub struct Call {
    /// The request's payload as it came; a method that only passes it on never decodes it.
    pub payload: Bytes,
    /// The request's headers, if it had any.
    pub headers: Option<HeaderMap>,
    /// When the request was taken from its subscription, by `CLOCK_MONOTONIC` in nanoseconds. Requests that were taken
    /// together share the instant.
    pub received_ns: u64,
}

impl Call {
    /// The parameters, of whichever codec the payload shows; the default for an empty payload.
    ///
    /// # Errors
    /// An error reply with code 400.
    pub fn parameters<T: DeserializeOwned + Default>(&self) -> Result<T, ErrorReply> {
        decode_any(&self.payload).map_err(|cause| ErrorReply::malformed(&cause))
    }

    /// A reply in the codec of the request.
    ///
    /// # Errors
    /// An error reply with code 500 for a value that the codec cannot hold.
    pub fn answer<T: Serialize>(&self, value: &T) -> Answer {
        Codec::of_reply(&self.payload)
            .encode(value)
            .map_err(|cause| ErrorReply::new(500, format!("the reply cannot be written: {cause}")))
    }
}

/// What a waiting method returns.
pub type Waiting = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// How a method is run.
#[derive(Clone)]
pub enum Handler {
    /// At once, on the thread that reads the requests: for what takes a few microseconds at most. No task, no lock.
    Instant(Arc<dyn Fn(&Call) -> Answer + Send + Sync>),
    /// On a thread of its own of the runtime's blocking pool: for what computes or blocks.
    Blocking(Arc<dyn Fn(&Call) -> Answer + Send + Sync>),
    /// As a task: for what waits.
    Waiting(Arc<dyn Fn(Call) -> Waiting + Send + Sync>),
}

impl fmt::Debug for Handler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Handler::Instant(_) => "Instant",
            Handler::Blocking(_) => "Blocking",
            Handler::Waiting(_) => "Waiting",
        })
    }
}

/// A method by name.
#[derive(Clone, Debug)]
pub struct Method {
    /// The last token of its subject.
    pub name: &'static str,
    /// How it is run.
    pub handler: Handler,
}

impl Method {
    /// A method that answers at once.
    pub fn instant(name: &'static str, run: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Method {
        Method {
            name,
            handler: Handler::Instant(Arc::new(run)),
        }
    }

    /// A method that computes or blocks.
    pub fn blocking(name: &'static str, run: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Method {
        Method {
            name,
            handler: Handler::Blocking(Arc::new(run)),
        }
    }

    /// A method that waits.
    pub fn waiting<F: Future<Output = Answer> + Send + 'static>(
        name: &'static str,
        run: impl Fn(Call) -> F + Send + Sync + 'static,
    ) -> Method {
        Method {
            name,
            handler: Handler::Waiting(Arc::new(move |call| Box::pin(run(call)))),
        }
    }
}

/// A method where it can be reached, and what has become of its calls.
#[derive(Debug)]
pub struct Endpoint {
    /// The method.
    pub method: Method,
    /// `rpc.<service>.<method>`.
    pub subject: String,
    /// Calls answered, errors among them.
    pub requests: AtomicU64,
    /// Error replies.
    pub errors: AtomicU64,
    /// Time spent in the method, in nanoseconds. Calls of an instant method that arrive together are timed together.
    pub processing_ns: AtomicU64,
    last_error: Mutex<Option<ErrorReply>>,
}

impl Endpoint {
    /// The endpoint of a method of a service.
    pub fn new(service: &str, method: Method) -> Endpoint {
        Endpoint {
            subject: subject(service, method.name),
            method,
            requests: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            processing_ns: AtomicU64::new(0),
            last_error: Mutex::new(None),
        }
    }

    /// The last error reply.
    pub fn last_error(&self) -> Option<ErrorReply> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn note_error(&self, error: &ErrorReply) {
        self.errors.fetch_add(1, Relaxed);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
    }
}

/// Where a method of a service is called.
pub fn subject(service: &str, method: &str) -> String {
    format!("rpc.{service}.{method}")
}

/// The queue group of all instances of a service.
pub fn queue_group(service: &str) -> String {
    format!("rpc.{service}")
}
