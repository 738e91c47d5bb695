//! The service's metrics as Prometheus text, and the HTTP port that serves them.

use crate::kit::events::ConsumerStats;
use crate::kit::method::Endpoint;
use crate::kit::pool::ConnectionNotes;
use crate::{ServiceError, platform};
use axum::http::header::CONTENT_TYPE;
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

/// What the metrics read at each scrape.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    pub(crate) notes: Arc<ConnectionNotes>,
    pub(crate) consumer: Option<Arc<ConsumerStats>>,
    pub(crate) commands: Option<Arc<AtomicU64>>,
}

/// Opens `port` on the loopback interface and serves `/metrics` and `/health` on the current runtime. That `/health`
/// answers says that the process runs; whether its methods can be called, `rpc.<service>.health` says.
pub(crate) async fn serve(port: u16, counters: Counters) -> Result<(), ServiceError> {
    let failed = |cause| ServiceError::Open {
        what: "metrics port",
        place: format!("127.0.0.1:{port}"),
        cause,
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(failed)?;
    tracing::info!("metrics on http://{}/metrics", listener.local_addr().map_err(failed)?);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(counters));
    let registry = Arc::new(registry);
    let metrics = move || {
        let registry = Arc::clone(&registry);
        async move {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(CONTENT_TYPE, kind)], text(&registry))
        }
    };
    let health = || async { ([(CONTENT_TYPE, "application/json")], r#"{"status":"ok"}"#) };
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

fn text(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, registry);
    text
}

impl Collector for Counters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        self.by_method(encoder, "rpc_requests", "Calls answered, by method", |endpoint| {
            endpoint.requests.load(Relaxed) as f64
        })?;
        self.by_method(encoder, "rpc_errors", "Error replies, by method", |endpoint| {
            endpoint.errors.load(Relaxed) as f64
        })?;
        self.by_method(
            encoder,
            "rpc_processing_seconds",
            "Time spent in the method, by method",
            |endpoint| endpoint.processing_ns.load(Relaxed) as f64 / 1e9,
        )?;
        counter(
            encoder,
            "rpc_dropped",
            "Messages dropped by the full client buffer",
            &self.notes.dropped,
        )?;
        counter(
            encoder,
            "rpc_disconnected",
            "Connections to the broker lost",
            &self.notes.disconnected,
        )?;
        if let Some(stats) = &self.consumer {
            for (name, help, value) in [
                ("rpc_events_received", "Deliveries of events", &stats.received),
                (
                    "rpc_events_redelivered",
                    "Deliveries after the first of an event",
                    &stats.redelivered,
                ),
                ("rpc_events_handled", "Events handled and acknowledged", &stats.handled),
                (
                    "rpc_events_failed",
                    "Deliveries that failed and come again",
                    &stats.failed,
                ),
                ("rpc_events_refused", "Events that can never be handled", &stats.refused),
                (
                    "rpc_events_given_up",
                    "Events that failed as often as they may",
                    &stats.given_up,
                ),
            ] {
                counter(encoder, name, help, value)?;
            }
        }
        if let Some(ended) = &self.commands {
            counter(
                encoder,
                "rpc_commands_ended",
                "Commands ended, with whatever outcome",
                ended,
            )?;
        }
        if let Some(bytes) = platform::resident_bytes() {
            let gauge = ConstGauge::new(bytes);
            let (name, help) = ("process_resident_memory_bytes", "Resident memory of this process");
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

impl Counters {
    fn by_method(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: impl Fn(&Endpoint) -> f64,
    ) -> fmt::Result {
        let first = ConstCounter::new(0.0_f64);
        let mut family = encoder.encode_descriptor(name, help, None, first.metric_type())?;
        for endpoint in &self.endpoints {
            let labels = [("method", endpoint.method.name)];
            ConstCounter::new(value(endpoint)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: &AtomicU64) -> fmt::Result {
    let counter = ConstCounter::new(value.load(Relaxed));
    counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::method::Method;

    #[test]
    fn every_metric_is_in_the_text() {
        let endpoint = Endpoint::new("echo", Method::instant("echo", |call| Ok(call.payload.clone())));
        endpoint.requests.fetch_add(7, Relaxed);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Counters {
            endpoints: vec![Arc::new(endpoint)],
            notes: Arc::default(),
            consumer: Some(Arc::default()),
            commands: Some(Arc::default()),
        }));
        let text = text(&registry);
        for line in [
            "rpc_requests_total{method=\"echo\"} 7",
            "rpc_errors_total{method=\"echo\"} 0",
            "rpc_processing_seconds_total{method=\"echo\"} 0",
            "rpc_dropped_total 0",
            "rpc_events_redelivered_total 0",
            "rpc_events_given_up_total 0",
            "rpc_commands_ended_total 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
