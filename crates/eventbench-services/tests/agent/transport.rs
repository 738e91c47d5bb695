//! The ways to the service besides HTTP/1.1 in the clear: HTTP/2 with prior knowledge, TLS, and HTTP/2 over TLS.

use crate::client::{Response, connect, send};
use crate::fixture::{LIMIT, NEVER_MS, Service, until};
use crate::verify::verify;
use h2::client::SendRequest;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

const ALPN_HTTP1: &[u8] = b"http/1.1";
const ALPN_HTTP2: &[u8] = b"h2";

fn body(run: &str, pace_ms: u64) -> Value {
    json!({ "workflow": "reference", "thread_id": "t", "run_id": run, "options": { "pace_ms": pace_ms } })
}

/// A service with TLS, and a client's settings that trust it.
fn with_tls(alpn: &[u8]) -> (Service, Arc<ClientConfig>) {
    let directory = tempfile::tempdir().unwrap();
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| directory.path().join(name));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(made.cert.der().to_vec())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let arguments = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    (Service::start_in(directory, &arguments), Arc::new(config))
}

fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

async fn http2(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> SendRequest<bytes::Bytes> {
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move {
        // The connection ends when the test drops its sender.
        let _ = connection.await;
    });
    sender
}

/// Posts a run and returns its stream.
async fn post(sender: &SendRequest<bytes::Bytes>, body: &Value) -> h2::RecvStream {
    let mut sender = sender.clone().ready().await.unwrap();
    let request = http::Request::post("http://localhost/api/copilotkit")
        .header("content-type", "application/json")
        .body(())
        .unwrap();
    let (response, mut stream) = sender.send_request(request, false).unwrap();
    stream.send_data(body.to_string().into(), true).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    response.into_body()
}

async fn events(mut stream: h2::RecvStream) -> Vec<Value> {
    let mut text = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data.unwrap();
        stream.flow_control().release_capacity(data.len()).unwrap();
        text.extend_from_slice(&data);
    }
    String::from_utf8(text)
        .unwrap()
        .split_terminator("\n\n")
        .map(|frame| serde_json::from_str(frame.strip_prefix("data: ").unwrap()).unwrap())
        .collect()
}

/// What a test of a few seconds may take on a machine that is busy with others.
async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("in time")
}

#[tokio::test]
async fn http2_with_prior_knowledge_carries_many_streams() {
    let service = Service::start(&[]);
    let sender = http2(TcpStream::connect(service.address).await.unwrap()).await;
    let runs: Vec<_> = (0..50)
        .map(|k| {
            let sender = sender.clone();
            tokio::spawn(async move {
                let run = format!("r{k}");
                let events = events(post(&sender, &body(&run, k % 3)).await).await;
                verify(&events, "t", &run)
            })
        })
        .collect();
    for run in runs {
        assert!(within(run).await.unwrap().unwrap().finished);
    }
}

#[tokio::test]
async fn a_stream_that_is_reset_cancels_its_run_alone() {
    let service = Service::start(&[]);
    let sender = http2(TcpStream::connect(service.address).await.unwrap()).await;
    let mut gone = within(post(&sender, &body("gone", NEVER_MS))).await;
    let mut stays = within(post(&sender, &body("stays", NEVER_MS))).await;
    for stream in [&mut gone, &mut stays] {
        within(stream.data()).await.unwrap().unwrap();
    }
    drop(gone);
    let cancelled = "ag_ui_runs_total{workflow=\"reference\",outcome=\"cancelled\"}";
    tokio::task::spawn_blocking(move || {
        until("one run is cancelled", || service.metric(cancelled) == 1.0);
        until("one is left", || service.metric("ag_ui_concurrent_streams") == 1.0);
    })
    .await
    .unwrap();
    drop(stays);
}

#[test]
fn tls_carries_http1() {
    let (service, config) = with_tls(ALPN_HTTP1);
    let connection = ClientConnection::new(config, name()).unwrap();
    let stream = StreamOwned::new(connection, connect(service.address));
    let headers = [("Content-Type", "application/json")];
    let stream = send(
        stream,
        "POST",
        "/api/copilotkit",
        &headers,
        body("r", 0).to_string().as_bytes(),
    );
    assert_eq!(stream.conn.alpn_protocol(), Some(ALPN_HTTP1));
    let events = Response::read(stream).events();
    assert!(verify(&events, "t", "r").unwrap().finished);
}

#[tokio::test]
async fn tls_carries_http2() {
    let (service, config) = with_tls(ALPN_HTTP2);
    let stream = TcpStream::connect(service.address).await.unwrap();
    let stream = tokio_rustls::TlsConnector::from(config)
        .connect(name(), stream)
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(ALPN_HTTP2));
    let sender = http2(stream).await;
    let events = within(async { events(post(&sender, &body("r", 1)).await).await }).await;
    assert!(verify(&events, "t", "r").unwrap().finished);
}

#[test]
fn clients_that_speak_no_tls_do_not_hold_up_those_that_do() {
    let (service, config) = with_tls(ALPN_HTTP1);
    // One says nothing, one speaks plainly: neither ever shakes hands.
    let silent = connect(service.address);
    let plain = send(connect(service.address), "GET", "/metrics", &[], b"");
    for _ in 0..4 {
        let connection = ClientConnection::new(Arc::clone(&config), name()).unwrap();
        let stream = StreamOwned::new(connection, connect(service.address));
        let stream = send(stream, "GET", "/api/copilotkit/health", &[], b"");
        assert_eq!(Response::read(stream).status, 200);
    }
    drop((silent, plain));
}
