//! Calls methods of services over a pool of connections.

use super::method::subject;
use super::pool::Pool;
use super::reply::ErrorReply;
use async_nats::client::RequestErrorKind;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// How long a call waits for its reply unless told otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The service answered with an error.
    #[error("the service refused: {0}")]
    Refused(ErrorReply),
    /// Nobody serves the method; known at once.
    #[error("nobody serves {0}")]
    NoResponder(String),
    /// No reply came in time; the call may have been done or not.
    #[error("{subject}: no reply within {} ms", timeout.as_millis())]
    TimedOut {
        /// Where it was called.
        subject: String,
        /// How long was waited.
        timeout: Duration,
    },
    /// The request is larger than the broker takes; nothing was sent.
    #[error("the request is larger than the broker's limit of {0} bytes")]
    TooLarge(usize),
    /// The connection is gone, or the subject is none.
    #[error("{0}")]
    Failed(String),
}

/// Calls methods; clones share the pool.
#[derive(Clone, Debug)]
pub struct Caller {
    pool: Arc<Pool>,
    timeout: Duration,
}

impl Caller {
    /// A caller on these connections with the default timeout.
    pub fn new(pool: Arc<Pool>) -> Caller {
        Caller { pool, timeout: TIMEOUT }
    }

    /// The same caller with another timeout.
    pub fn with_timeout(self, timeout: Duration) -> Caller {
        Caller { timeout, ..self }
    }

    /// Calls a method on the connection whose turn it is, and returns the reply's payload.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call(&self, service: &str, method: &str, payload: Bytes) -> Result<Bytes, CallError> {
        let subject = subject(service, method);
        let client = self.pool.next();
        let request = async_nats::Request::new().payload(payload).timeout(Some(self.timeout));
        let reply = client
            .send_request(subject.clone(), request)
            .await
            .map_err(|cause| match cause.kind() {
                RequestErrorKind::NoResponders => CallError::NoResponder(subject),
                RequestErrorKind::TimedOut => CallError::TimedOut {
                    subject,
                    timeout: self.timeout,
                },
                RequestErrorKind::MaxPayloadExceeded => CallError::TooLarge(client.max_payload()),
                _ => CallError::Failed(cause.to_string()),
            })?;
        match ErrorReply::of_reply(reply.headers.as_ref(), &reply.payload) {
            Some(error) => Err(CallError::Refused(error)),
            None => Ok(reply.payload),
        }
    }
}
