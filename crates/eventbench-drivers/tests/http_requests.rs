//! Requests to a scripted server: connections, tasks, TLS, HTTP/2, and what is refused before anything is asked.

// Functions beside the tests are tests too, though clippy does not see it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod served;

use eventbench_core::arrival::{Arrival, Burst, Schedule};
use eventbench_core::plan::Settings;
use eventbench_core::trial::Variables;
use eventbench_drivers::REGISTRY;
use served::{Came, Request, Served, closed, drive, nobody, respond, run_of, stream};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

fn http(url: &str, more: &str) -> String {
    format!("driver = \"http\"\nurl = \"{url}\"\n{more}")
}

fn burst(settings: &str, size: u64) -> Came {
    let arrival = Arrival::Burst(Burst {
        size,
        every_ns: None,
        duration_ns: 1_000_000_000,
    });
    drive(settings, Schedule::new(arrival, 0, None))
}

#[test]
fn requests_are_written_as_the_settings_say() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = seen.clone();
    let server = Served::answering(move |number, request, socket| {
        kept.lock().unwrap().push((request.head.clone(), request.body.clone()));
        if number == 1 {
            let _ = socket.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
        }
        respond(socket, "200 OK", "", "{\"status\":\"ok\"}");
    });
    let settings = http(
        &format!("{}/base/", server.url()),
        r#"path = "/a?n={seq}"
headers = { "X-Id" = "id-{seq}", "user-agent" = "me" }
body = '{"n":{seq}}'
expect = "\"ok\""
expect_status = [200, 201]"#,
    );
    let came = closed(&settings, 1, 3);
    assert_eq!(came.ends(), [3, 0, 0, 0], "{:?}", came.causes);
    let seen = seen.lock().unwrap();
    let (head, body) = &seen[1];
    assert_eq!(body, "{\"n\":1}");
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some("POST /base/a?n=1 HTTP/1.1"));
    let mut lines: Vec<&str> = lines.filter(|l| !l.is_empty()).collect();
    lines.sort_unstable();
    let host = format!("Host: {}", server.address);
    assert_eq!(
        lines,
        [
            "Accept: */*",
            "Content-Length: 7",
            "Content-Type: application/json",
            &host,
            "X-Id: id-1",
            "user-agent: me"
        ]
    );
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn tasks_come_in_proportion_and_have_their_own_books() {
    let counts = Arc::new(Mutex::new(BTreeMap::new()));
    let kept = counts.clone();
    let server = Served::answering(move |_, request, socket| {
        let path = request.head.split(' ').nth(1).unwrap().to_owned();
        *kept.lock().unwrap().entry(path.clone()).or_insert(0) += 1;
        match path.as_str() {
            "/run" => stream(socket, &run_of(request)),
            "/health" => respond(socket, "204 No Content", "", ""),
            _ => respond(socket, "503 Service Unavailable", "Retry-After: 1\r\n", "busy"),
        }
    });
    let settings = format!(
        r#"driver = "sse"
url = "{}"
protocol = "ag-ui"
tasks = [
  {{ name = "analyse", weight = 10, path = "/run", body = '{{"threadId":"t","runId":"r{{seq}}"}}', events = 20 }},
  {{ name = "review", weight = 3, path = "/busy", body = "{{}}" }},
  {{ name = "health", path = "/health", stream = false }},
]"#,
        server.url()
    );
    let came = closed(&settings, 1, 28);
    assert_eq!(came.ends(), [22, 6, 0, 0], "{:?}", came.causes);
    let counts: Vec<(String, i32)> = counts.lock().unwrap().clone().into_iter().collect();
    assert_eq!(
        counts,
        [
            ("/busy".to_owned(), 6),
            ("/health".to_owned(), 2),
            ("/run".to_owned(), 20)
        ]
    );
    let [cause] = came.causes.as_slice() else {
        panic!("{:?}", came.causes)
    };
    assert_eq!(
        (cause.cause.as_str(), cause.stream.as_str(), cause.example.as_str()),
        ("status 503", "review", "busy")
    );
    assert_eq!(
        (
            came.count("statuses"),
            came.count("statuses{status:503}"),
            came.count("events")
        ),
        (6, 6, 400)
    );
    let times: BTreeMap<&str, u64> = came
        .lane
        .task_times()
        .map(|(name, times)| (name, times.count()))
        .collect();
    assert_eq!((times["analyse"], times["health"]), (20, 2));
}

#[test]
fn connections_are_kept_or_made_anew_and_no_more_than_the_pool_holds() {
    let server = Served::answering(|_, _, socket| respond(socket, "200 OK", "", ""));
    let came = closed(&http(&server.url(), "connection = \"per-request\""), 2, 10);
    assert_eq!((came.ends()[0], came.times("connect_time").count()), (10, 10));
    assert_eq!(server.connections.load(Ordering::SeqCst), 10);

    // More at once than connections: the others wait for their turn.
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (own_now, own_most) = (now.clone(), most.clone());
    let server = Served::answering(move |_, _, socket| {
        let at_once = own_now.fetch_add(1, Ordering::SeqCst) + 1;
        own_most.fetch_max(at_once, Ordering::SeqCst);
        std::thread::yield_now();
        own_now.fetch_sub(1, Ordering::SeqCst);
        respond(socket, "200 OK", "", "x");
    });
    let came = burst(&http(&server.url(), "pool = 3"), 50);
    assert_eq!(came.ends(), [50, 0, 0, 0]);
    assert!(most.load(Ordering::SeqCst) <= 3 && server.connections.load(Ordering::SeqCst) <= 3);
}

#[test]
fn a_connection_that_the_server_closed_meanwhile_is_no_failure() {
    // Keeps the connection, and closes it without a word when the next request comes.
    let server = Served::new(|_, mut socket| {
        if Request::read(&mut socket).is_some() {
            respond(&mut socket, "200 OK", "", "x");
            Request::read(&mut socket);
        }
    });
    let came = closed(&http(&server.url(), ""), 1, 5);
    assert_eq!(
        (came.ends(), came.count("reconnects")),
        ([5, 0, 0, 0], 4),
        "{:?}",
        came.causes
    );
    // A fresh connection that says nothing is one.
    let server = Served::new(|_, mut socket| drop(Request::read(&mut socket)));
    let came = closed(&http(&server.url(), ""), 1, 2);
    assert_eq!(
        (came.ends(), came.cause().0, came.count("reconnects")),
        ([0, 0, 0, 2], "closed without an answer", 0)
    );
    // What lies behind the end of a response belongs to nobody.
    let server =
        Served::answering(|_, _, socket| drop(socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokay")));
    let came = closed(&http(&server.url(), ""), 1, 1);
    assert_eq!((came.ends(), came.cause().0), ([0, 1, 0, 0], "malformed response"));
}

#[test]
fn responses_are_read_to_their_end_whatever_their_size() {
    let body = "0123456789".repeat(100_000);
    let expected = body.clone();
    let server = Served::answering(move |number, _, socket| match number % 3 {
        0 => respond(socket, "200 OK", "", &body),
        1 => {
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for part in body.as_bytes().chunks(7777) {
                let _ = socket.write_all(&served::chunk(part));
            }
            let _ = socket.write_all(b"0\r\nTrailer: x\r\n\r\n");
        }
        _ => {
            let _ = socket
                .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", body.len() + 1, body).as_bytes());
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
    });
    let came = closed(&http(&server.url(), "expect = \"90123456789\""), 1, 3);
    assert_eq!((came.ends(), came.cause().0), ([2, 0, 0, 1], "truncated"));
    assert!(came.count("wire.received") >= 3 * expected.len() as u64);
}

#[cfg(target_os = "linux")]
#[test]
fn sources_are_spread() {
    let peers = Arc::new(Mutex::new(BTreeMap::new()));
    let kept = peers.clone();
    let server = Served::answering(move |_, _, socket| {
        let peer = socket.peer_addr().unwrap().ip().to_string();
        *kept.lock().unwrap().entry(peer).or_insert(0) += 1;
        respond(socket, "200 OK", "", "");
    });
    let came = closed(&http(&server.url(), "connection = \"per-request\"\nsources = 3"), 1, 9);
    assert_eq!(came.ends(), [9, 0, 0, 0], "{:?}", came.causes);
    let peers: Vec<(String, i32)> = peers.lock().unwrap().clone().into_iter().collect();
    let own = |ip: &str| (ip.to_owned(), 3);
    assert_eq!(peers, [own("127.0.0.2"), own("127.0.0.3"), own("127.0.0.4")]);
    let came = closed(&http(&server.url(), "sources = [\"192.0.2.1\"]"), 1, 2);
    assert_eq!((came.ends(), came.cause().0), ([0, 0, 0, 2], "no port left"));
}

/// A certificate for localhost, its key, and the file of the CA.
fn certificate(directory: &std::path::Path) -> (Arc<rustls::ServerConfig>, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let path = directory.join("ca.pem");
    std::fs::write(&path, made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (Arc::new(config), path.to_str().unwrap().to_owned())
}

#[test]
fn tls_is_spoken_to_those_who_are_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let (config, ca) = certificate(directory.path());
    let server = Served::new(move |_, mut socket| {
        let mut session = rustls::ServerConnection::new(config.clone()).unwrap();
        let mut tls = rustls::Stream::new(&mut session, &mut socket);
        while let Some(request) = Request::read(&mut tls) {
            stream(&mut tls, &run_of(&request));
            let _ = tls.flush();
        }
    });
    let url = format!("https://localhost:{}", server.address.port());
    let came = closed(&served::runs(&url, &format!("events = 20\nca = \"{ca}\"")), 2, 20);
    assert_eq!(
        (came.ends(), came.times("connect_time").count()),
        ([20, 0, 0, 0], 2),
        "{:?}",
        came.causes
    );
    let came = closed(&served::runs(&url, "insecure = true"), 1, 2);
    assert_eq!(came.ends(), [2, 0, 0, 0], "{:?}", came.causes);
    // Another CA, and a name that the certificate does not carry.
    let elsewhere = tempfile::tempdir().unwrap();
    let (_, other) = certificate(elsewhere.path());
    for (url, ca, advice) in [
        (url.as_str(), &other, "as `ca`"),
        (&url.replace("localhost", "127.0.0.1"), &ca, "by a name"),
    ] {
        let came = closed(&served::runs(url, &format!("ca = \"{ca}\"")), 1, 2);
        assert_eq!((came.ends(), came.cause().0), ([0, 0, 0, 2], "TLS"));
        assert!(came.cause().1.contains(advice), "{:?}", came.causes);
    }
    // A server that does not speak TLS at all.
    let server = Served::new(|_, mut socket| {
        let _ = socket.write_all(b"220 hello\r\n");
        Request::read(&mut socket);
    });
    let url = format!("https://localhost:{}", server.address.port());
    let came = closed(&served::runs(&url, "insecure = true"), 1, 1);
    assert_eq!((came.ends(), came.cause().0), ([0, 0, 0, 1], "TLS"));
}

/// An HTTP/2 server that streams runs; every third is cut off, every fifth never ends, when it is told to.
fn h2_server(tls: Option<Arc<rustls::ServerConfig>>, faults: bool) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (tls, asked) = (tls.clone(), asked.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(config) => {
                            let accepted = tokio_rustls::TlsAcceptor::from(config).accept(socket).await;
                            if let Ok(stream) = accepted {
                                h2_connection(stream, asked, faults).await;
                            }
                        }
                        None => h2_connection(socket, asked, faults).await,
                    }
                });
            }
        });
    });
    (address, connections)
}

async fn h2_connection<T>(socket: T, asked: Arc<AtomicUsize>, faults: bool)
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(10);
    let Ok(mut connection) = builder.handshake::<_, bytes::Bytes>(socket).await else {
        return;
    };
    while let Some(Ok((request, mut reply))) = connection.accept().await {
        let number = asked.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            let head = format!("{} {}", request.method(), request.uri());
            let mut body = request.into_body();
            let mut bytes = Vec::new();
            while let Some(Ok(piece)) = body.data().await {
                let _ = body.flow_control().release_capacity(piece.len());
                bytes.extend_from_slice(&piece);
            }
            let request = Request {
                head,
                body: String::from_utf8(bytes).unwrap(),
            };
            let response = http::Response::builder()
                .header("content-type", "text/event-stream")
                .body(())
                .unwrap();
            let mut out = reply.send_response(response, false).unwrap();
            let events = run_of(&request);
            let (cut, hang) = (faults && number % 3 == 1, faults && number % 3 == 2);
            for fields in &events[..if cut || hang { 5 } else { 20 }] {
                let _ = out.send_data(served::event(fields).into(), false);
            }
            if cut {
                tokio::task::yield_now().await;
                out.send_reset(h2::Reason::INTERNAL_ERROR);
            } else if hang {
                std::future::pending::<()>().await;
            } else {
                let _ = out.send_data(bytes::Bytes::new(), true);
            }
        });
    }
}

#[test]
fn http_2_carries_many_streams_on_few_connections() {
    let directory = tempfile::tempdir().unwrap();
    let (config, ca) = certificate(directory.path());
    let (plain, connections) = h2_server(None, false);
    let came = closed(
        &served::runs(&format!("http://{plain}"), "http = \"2\"\nevents = 20"),
        8,
        60,
    );
    assert_eq!(
        (came.ends(), came.count("events"), came.count("violations")),
        ([60, 0, 0, 0], 1200, 0),
        "{:?}",
        came.causes
    );
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    assert_eq!(
        (came.times("headers_time").count(), came.times("event_time").negative()),
        (60, 0)
    );
    assert!(came.count("wire.received") > 60 * 1000);
    // More at once than the server takes on a connection, and no more than one connection.
    let came = burst(&served::runs(&format!("http://{plain}"), "http = \"2\"\npool = 1"), 50);
    assert_eq!(came.ends(), [50, 0, 0, 0], "{:?}", came.causes);

    let (encrypted, _) = h2_server(Some(config), false);
    let url = format!("https://localhost:{}", encrypted.port());
    let came = closed(&served::runs(&url, &format!("http = \"2\"\nca = \"{ca}\"")), 2, 10);
    assert_eq!(came.ends(), [10, 0, 0, 0], "{:?}", came.causes);

    let (faulty, _) = h2_server(None, true);
    let came = closed(
        &served::runs(&format!("http://{faulty}"), "http = \"2\"\ntimeout = \"10s\""),
        6,
        6,
    );
    assert_eq!(
        (came.ends(), came.count("truncated")),
        ([2, 0, 2, 2], 2),
        "{:?}",
        came.causes
    );

    // Nobody there, and somebody who speaks something else.
    let (_kept, url) = nobody();
    let came = closed(&served::runs(&url, "http = \"2\""), 2, 4);
    assert_eq!((came.ends(), came.cause().0), ([0, 0, 0, 4], "connection refused"));
    let server =
        Served::new(|_, mut socket| drop(socket.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")));
    let came = closed(&served::runs(&server.url(), "http = \"2\""), 1, 1);
    assert_eq!(came.ends()[0], 0, "{:?}", came.causes);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for (driver, settings, key) in [
        ("http", "url = \"localhost:80\"", "URL"),
        ("http", "url = \"http://u:p@h\"", "Authorization"),
        ("http", "url = \"http://h\"\nca = \"x\"", "http://"),
        ("http", "url = \"https://h\"\nca = \"x\"\ninsecure = true", "either"),
        ("http", "url = \"http://h\"\nmethod = \"get\"", "no method"),
        ("http", "url = \"http://h\"\npath = \"a\"", "slash"),
        ("http", "url = \"http://h\"\npath = \"/a b\"", "space"),
        (
            "http",
            "url = \"http://h\"\npath = \"/{sequence}\"",
            "unknown payload field",
        ),
        ("http", "url = \"http://h\"\nbody = \"{text:x}\"", "length"),
        ("http", "url = \"http://h\"\nheaders = [\"a\"]", "Name: value"),
        (
            "http",
            "url = \"http://h\"\nheaders = { A = \"b\\r\\nC: d\" }",
            "control",
        ),
        (
            "http",
            "url = \"http://h\"\nheaders = { Connection = \"close\" }",
            "by the driver",
        ),
        ("http", "url = \"http://h\"\nexpect_status = 99", "no status"),
        ("http", "url = \"http://h\"\nexpect = \"\"", "empty"),
        ("http", "url = \"http://h\"\npool = 0", "at least 1"),
        ("http", "url = \"http://h\"\nsources = 0", "at least 1"),
        ("http", "url = \"http://h\"\nhttp = \"2\"\nsources = 2", "HTTP/2"),
        ("http", "url = \"http://h\"\nhttp = \"3\"", "variant"),
        ("http", "url = \"http://h\"\nprotocol = \"ag-ui\"", "streams"),
        ("http", "url = \"http://h\"\npaht = \"/\"", "paht"),
        ("sse", "url = \"http://h\"\ntimeout = \"0s\"", "more than 0"),
        (
            "sse",
            "url = \"http://h\"\nbody = \"x\"\ntasks = [{ name = \"a\" }]",
            "each of the `tasks`",
        ),
        (
            "sse",
            "url = \"http://h\"\ntasks = [{ name = \"a\", weight = 0 }]",
            "weight",
        ),
        (
            "sse",
            "url = \"http://h\"\ntasks = [{ name = \"a\", path = \"x\" }]",
            "\"a\"",
        ),
    ] {
        let own = Settings::from_table(settings.parse().unwrap());
        let error = (REGISTRY.driver(driver).unwrap().check)(&own).unwrap_err().to_string();
        assert!(error.contains(key), "{settings}: {error}");
    }
    let fine = Settings::from_table(
        "url = \"http://{agent.address}/x\"\nheaders = [\"Authorization: Bearer {token.value}\"]"
            .parse()
            .unwrap(),
    );
    assert!((REGISTRY.driver("sse").unwrap().check)(&fine).is_ok());
}

#[test]
fn a_service_is_ready_when_its_url_answers_with_success() {
    let server = Served::answering(|number, request, socket| {
        assert!(
            request.head.starts_with("GET /api/health HTTP/1.1\r\n"),
            "{}",
            request.head
        );
        respond(socket, ["503 No", "200 OK", "302 Found"][number % 3], "", "x");
    });
    let ready = REGISTRY.ready("http").unwrap();
    let mut variables = Variables::default();
    variables.set("port.agent", server.address.port().to_string());
    let settings = Settings::from_table("http = \"http://127.0.0.1:{port.agent}/api/health\"".parse().unwrap());
    (ready.check)(&settings).unwrap();
    let deadline = eventbench_core::host::monotonic_ns() + served::LONG.as_nanos() as u64;
    let mut kept = None;
    let mut ask = |settings: &Settings| (ready.ask)(settings, &variables, deadline, &mut kept);
    let answers: Vec<bool> = (0..3).map(|_| ask(&settings).unwrap()).collect();
    assert_eq!(answers, [false, true, false]);
    let (_kept, gone) = nobody();
    let gone = format!("http = \"{gone}\"");
    assert!(!ask(&Settings::from_table(gone.parse().unwrap())).unwrap());
    for wrong in ["http = 5", "http = \"ftp://x\"", "http = \"http://x\"\npath = \"/\""] {
        assert!(
            (ready.check)(&Settings::from_table(wrong.parse().unwrap())).is_err(),
            "{wrong}"
        );
    }
}
