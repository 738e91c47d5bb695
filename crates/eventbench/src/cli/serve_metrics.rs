//! `--serve-metrics`: the figures of a run over HTTP while it lasts, for Prometheus and for a browser.
//!
//! The load never meets it: a run's events, four a second, are taken in by the thread that already tells of progress, and
//! the server reads a copy of what they come to.

mod exposition;
mod http;
mod live;

use super::progress::Progress;
use super::run::args::duration;
use super::{Failure, Global};
use crate::host::Machine;
use clap::Args;
use eventbench_core::event::{Event, Sink};
use eventbench_core::host::Host as _;
use eventbench_core::record::RunRecord;
use eventbench_core::units::Duration;
use http::{Server, Shared};
use std::net::{SocketAddr, TcpListener};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

/// Arguments of `run` that speak of serving.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// While the run lasts, serve its figures to Prometheus at http://ADDR/metrics and as a live page at http://ADDR/;
    /// a port alone is one of the loopback interface, port 0 a free one
    #[arg(long, value_name = "ADDR", help_heading = "Live figures")]
    serve_metrics: Option<Address>,
    /// Go on serving the last state for so long after the run, so that it is not missed; Ctrl-C ends it
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "serve_metrics", help_heading = "Live figures")]
    serve_metrics_linger: Option<Duration>,
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address(String);

impl FromStr for Address {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        if port.parse::<u16>().is_err() || (host.contains(':') && !(host.starts_with('[') && host.ends_with(']'))) {
            return Err(format!(
                "\"{text}\" is no address to listen on; expected HOST:PORT or PORT, such as 127.0.0.1:9464, [::1]:9464 or 9464"
            ));
        }
        Ok(Address(if host.is_empty() {
            format!("127.0.0.1:{port}")
        } else {
            text.to_owned()
        }))
    }
}

/// A port that is taken, before anything is measured.
pub struct Claim {
    listener: TcpListener,
    address: SocketAddr,
}

/// Takes the port that was asked for, if any.
///
/// # Errors
/// When it cannot be had.
pub fn claim(args: &ServeArgs) -> Result<Option<Claim>, Failure> {
    let Some(Address(wanted)) = &args.serve_metrics else {
        return Ok(None);
    };
    let bound = TcpListener::bind(wanted).and_then(|listener| listener.local_addr().map(|a| (listener, a)));
    let (listener, address) = bound.map_err(|e| {
        Failure::environment(format!(
            "--serve-metrics {wanted}: {e}; choose another port, or port 0 for a free one"
        ))
    })?;
    Ok(Some(Claim { listener, address }))
}

/// Whoever hears of the run: the display, and the server where there is one.
pub struct Audience {
    progress: Progress,
    serving: Option<(Shared, Server)>,
}

impl Audience {
    /// Opens the display, and serves on the port that was claimed.
    ///
    /// # Errors
    /// When the server cannot be started.
    pub fn open(global: &Global, claim: Option<Claim>) -> Result<Audience, Failure> {
        let mut audience = Audience {
            progress: Progress::new(global.quiet),
            serving: None,
        };
        if let Some(Claim { listener, address }) = claim {
            let live = Shared::default();
            let server = Server::start(listener, Arc::clone(&live))
                .map_err(|e| Failure::environment(format!("the figures cannot be served: {e}")))?;
            audience.serving = Some((live, server));
            audience.progress.hear(Event::Note(format!(
                "the run is served live: http://{address}/ for a browser, http://{address}/metrics for Prometheus"
            )));
        }
        Ok(audience)
    }

    /// Takes the moving line away.
    pub fn finish(&mut self) {
        self.progress.finish();
    }

    /// Lets the server know what a run has come to.
    pub fn ended(&self, record: &RunRecord) {
        if let Some((live, _)) = &self.serving {
            let now_ns = Machine.clock().now_ns();
            live.lock().unwrap_or_else(PoisonError::into_inner).end(record, now_ns);
        }
    }

    /// Goes on serving for as long as was asked for, or until somebody has had enough.
    pub fn linger(mut self, args: &ServeArgs, stop: &AtomicBool) {
        let (Some(linger), Some(_)) = (args.serve_metrics_linger, &self.serving) else {
            return;
        };
        self.progress.hear(Event::Note(format!(
            "the last state is served for {linger} more; Ctrl-C ends it"
        )));
        let clock = Machine.clock();
        let until = clock.now_ns() + linger.ns();
        while clock.now_ns() < until && !stop.load(Ordering::Relaxed) {
            // A signal only sets the flag, so somebody has to look.
            clock.sleep_until(until.min(clock.now_ns() + 50_000_000));
        }
    }
}

impl Sink for Audience {
    fn hear(&mut self, event: Event) {
        if let Some((live, _)) = &self.serving {
            let now_ns = Machine.clock().now_ns();
            live.lock().unwrap_or_else(PoisonError::into_inner).hear(&event, now_ns);
        }
        self.progress.hear(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_port_or_a_host_with_one() {
        for (text, means) in [
            ("9464", "127.0.0.1:9464"),
            (":0", "127.0.0.1:0"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("[::1]:9464", "[::1]:9464"),
            ("localhost:9464", "localhost:9464"),
        ] {
            assert_eq!(text.parse(), Ok(Address(means.to_owned())));
        }
        for wrong in ["", "localhost", "127.0.0.1", "::1:9464", "1:99999", "http://a:b"] {
            wrong.parse::<Address>().unwrap_err();
        }
    }
}
