//! A worker's presence in the registry: makes itself known again and again, so that a registry that was restarted
//! learns of it too, and beats.

use crate::platform::{monotonic_ns, nanos};
use crate::workflow::subjects;
use async_nats::{Client, Request};
use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Beats between two registrations.
const BEATS: u64 = 5;
/// How long the registry, or the worker's own health, may take to answer.
const LIMIT: Duration = Duration::from_secs(2);
/// Pause between two looks at whether the worker answers.
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// Who is present.
pub(crate) struct Presence {
    pub(crate) client: Client,
    pub(crate) instance: String,
    pub(crate) capabilities: Vec<&'static str>,
    pub(crate) every: Duration,
    /// Calls that wait for something at this moment.
    pub(crate) outstanding: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Presence {
    /// Registers once the worker answers, then beats for as long as the runtime lives. Without a registry nothing is
    /// lost: the orchestrator then asks the workers themselves.
    pub(crate) async fn run(self) {
        let subject = subjects::worker(&self.instance);
        let health = subjects::capability(&subject, "health");
        while self.ask(&health, Bytes::new()).await.is_err() {
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        let registration = json!({
            "id": self.instance,
            "capabilities": self.capabilities,
            "subject": subject,
            "beat_ms": u64::try_from(self.every.as_millis()).unwrap_or(u64::MAX),
        });
        let registration = Bytes::from(registration.to_string());
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last = (monotonic_ns(), process_cpu_ns());
        for seq in 0_u64.. {
            ticks.tick().await;
            if seq.is_multiple_of(BEATS)
                && let Err(cause) = self.ask(subjects::REGISTRY_REGISTER, registration.clone()).await
            {
                tracing::debug!("not registered: {cause}");
            }
            let now = (monotonic_ns(), process_cpu_ns());
            let (passed_ns, used_ns) = (now.0.saturating_sub(last.0), now.1.saturating_sub(last.1));
            last = now;
            let beat = json!({
                "id": self.instance,
                "seq": seq,
                "at_ns": now.0,
                // The share of one processor that this process has used since the last beat.
                "load": used_ns as f64 / passed_ns.max(1) as f64,
                "outstanding": (self.outstanding)(),
            });
            if let Err(cause) = self.client.publish(subjects::BEAT, beat.to_string().into()).await {
                tracing::warn!("a beat could not be sent: {cause}");
            }
        }
    }

    /// Leaves the registry, so that calls go elsewhere before the worker ends.
    pub(crate) async fn leave(client: Client, instance: &str) {
        let body = json!({ "id": instance }).to_string();
        let request = Request::new().payload(body.into()).timeout(Some(LIMIT));
        if let Err(cause) = client.send_request(subjects::REGISTRY_LEAVE, request).await {
            tracing::debug!("the registry does not know of the end: {cause}");
        }
    }

    async fn ask(&self, subject: &str, payload: Bytes) -> Result<(), async_nats::RequestError> {
        let request = Request::new().payload(payload).timeout(Some(LIMIT));
        self.client.send_request(subject.to_owned(), request).await.map(|_| ())
    }
}

fn process_cpu_ns() -> u64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    nanos(Duration::new(
        u64::try_from(used.tv_sec).unwrap_or(0),
        u32::try_from(used.tv_nsec).unwrap_or(0),
    ))
}
