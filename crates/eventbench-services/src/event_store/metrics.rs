//! The service's metrics as Prometheus text, and the HTTP port that serves them and its health.

use super::event::Kind;
use super::query::Answers;
use super::queue::Queue;
use super::stats::{ByKind, Stats};
use crate::{ServiceError, platform};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::net::TcpListener;

/// Opens `port` on the loopback interface and serves `/metrics` and `/health` on the current runtime.
pub(crate) async fn serve(
    port: u16,
    stats: Arc<Stats>,
    queue: Arc<Queue>,
    answers: Arc<Answers>,
) -> Result<(), ServiceError> {
    let address = (Ipv4Addr::LOCALHOST, port);
    let failed = |cause| ServiceError::Open {
        what: "metrics port",
        place: format!("127.0.0.1:{port}"),
        cause,
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    tracing::info!("metrics on http://{}/metrics", listener.local_addr().map_err(failed)?);
    let registry = Arc::new(registry(stats, queue));
    let metrics = move || {
        let registry = Arc::clone(&registry);
        async move {
            (
                [(
                    CONTENT_TYPE,
                    "application/openmetrics-text; version=1.0.0; charset=utf-8",
                )],
                text(&registry),
            )
        }
    };
    let health = move || {
        let answers = Arc::clone(&answers);
        async move { ([(CONTENT_TYPE, "application/json")], answers.answer("bus.health", b"")).into_response() }
    };
    let router = axum::Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(health));
    tokio::spawn(async move {
        if let Err(cause) = axum::serve(listener, router).await {
            tracing::error!("metrics port closed: {cause}");
        }
    });
    Ok(())
}

fn registry(stats: Arc<Stats>, queue: Arc<Queue>) -> Registry {
    let mut registry = Registry::default();
    registry.register(
        "event_store_batch_size",
        "Events in each committed batch",
        stats.batch_size.clone(),
    );
    registry.register(
        "event_store_commit_seconds",
        "Time from the begin of a transaction to the end of its commit",
        stats.commit_seconds.clone(),
    );
    registry.register_collector(Box::new(Counters { stats, queue }));
    registry
}

fn text(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, registry);
    text
}

/// Reads the shared counters at each scrape.
#[derive(Debug)]
struct Counters {
    stats: Arc<Stats>,
    queue: Arc<Queue>,
}

impl Collector for Counters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stats = &self.stats;
        by_type(
            &mut encoder,
            "event_store_events_received",
            "Events received, by type",
            &stats.received,
        )?;
        by_type(
            &mut encoder,
            "event_store_events_stored",
            "Events committed, by type",
            &stats.stored,
        )?;
        by_type(
            &mut encoder,
            "event_store_events_malformed",
            "Events that could not be parsed, by type",
            &stats.malformed,
        )?;
        by_type(
            &mut encoder,
            "event_store_events_failed",
            "Events given up after database errors, by type",
            &stats.failed,
        )?;
        counter(
            &mut encoder,
            "event_store_unknown_subject",
            "Messages on a subject without event",
            &stats.unknown,
        )?;
        counter(
            &mut encoder,
            "event_store_slow_consumer",
            "Messages dropped by the full client buffer",
            &stats.slow_consumer,
        )?;
        counter(
            &mut encoder,
            "event_store_disconnected",
            "Connections to the broker lost",
            &stats.disconnected,
        )?;
        counter(
            &mut encoder,
            "event_store_redelivered",
            "JetStream deliveries after the first",
            &stats.redelivered,
        )?;
        counter(
            &mut encoder,
            "event_store_commit_errors",
            "Failed attempts to commit a batch",
            &stats.commit_errors,
        )?;
        gauge(
            &mut encoder,
            "event_store_queue_depth",
            "Events waiting for the writer",
            self.queue.waiting().0 as u64,
        )?;
        gauge(
            &mut encoder,
            "event_store_degraded",
            "1 while the last commit has failed",
            stats.degraded.load(Relaxed).into(),
        )?;
        if let Some(bytes) = platform::resident_bytes() {
            gauge(
                &mut encoder,
                "process_resident_memory_bytes",
                "Resident memory of this process",
                bytes,
            )?;
        }
        Ok(())
    }
}

fn by_type(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, counters: &ByKind) -> fmt::Result {
    let first = ConstCounter::new(0_u64);
    let mut family = encoder.encode_descriptor(name, help, None, first.metric_type())?;
    for kind in Kind::ALL {
        let labels = [("type", kind.label())];
        ConstCounter::new(counters[kind.index()].load(Relaxed)).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: &AtomicU64) -> fmt::Result {
    let counter = ConstCounter::new(value.load(Relaxed));
    counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let gauge = ConstGauge::new(value);
    gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
}

#[cfg(test)]
mod tests {
    use super::super::store::Totals;
    use super::*;

    #[test]
    fn every_metric_is_in_the_text() {
        let stats = Arc::new(Stats::new(&Totals::default()));
        stats.stored[Kind::MediaPlayed.index()].fetch_add(7, Relaxed);
        stats.commit_seconds.observe(0.001);
        let text = text(&registry(Arc::clone(&stats), Arc::new(Queue::new(1))));
        for line in [
            "event_store_events_stored_total{type=\"media_played\"} 7",
            "event_store_events_received_total{type=\"chat_message\"} 0",
            "event_store_events_malformed_total{type=\"user_count\"} 0",
            "event_store_events_failed_total{type=\"user_left\"} 0",
            "event_store_queue_depth 0",
            "event_store_commit_seconds_count 1",
            "event_store_batch_size_count 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert_eq!(
            text.contains("process_resident_memory_bytes "),
            cfg!(target_os = "linux")
        );
    }
}
