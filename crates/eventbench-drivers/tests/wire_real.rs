//! The wire client against a real nats-server.

// Functions beside the tests are tests too, though clippy does not see it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::NatsServer;
use eventbench_drivers::wire::{Auth, Connection, Deadline, Endpoint, Message, Op, PollSet, WireError, encode};
use nkeys::KeyPair;

const LONG: Duration = Duration::from_secs(20);

fn soon() -> Deadline {
    Deadline::after(LONG)
}

fn connect(endpoint: &Endpoint) -> Connection {
    Connection::connect(endpoint, LONG).unwrap()
}

/// Takes operations until the next message, and gives what `look` makes of it.
fn next_message<R>(connection: &mut Connection, look: impl Fn(Message<'_>) -> R) -> R {
    loop {
        while let Some(op) = connection.next_op() {
            match op.unwrap() {
                Op::Msg(message) => return look(message),
                Op::Err(text) => panic!("{text}"),
                _ => {}
            }
        }
        assert!(connection.poll_read(soon()).unwrap(), "no message came");
    }
}

/// Takes operations until one is an error.
fn next_error(connection: &mut Connection) -> WireError {
    loop {
        while let Some(op) = connection.next_op() {
            if let Err(error) = op {
                return error;
            }
        }
        match connection.poll_read(soon()) {
            Ok(came) => assert!(came, "no error came"),
            Err(error) => return error,
        }
    }
}

fn publish_and_receive(endpoint: &Endpoint) {
    let mut connection = connect(endpoint);
    let sid = connection.sub("a.>", None).unwrap();
    connection.pub_frame("a.b", Some(b"answer.here"), b"hello").unwrap();
    connection.flush(soon()).unwrap();
    next_message(&mut connection, |m| {
        assert_eq!(
            (m.subject, m.sid, m.reply, m.headers),
            (&b"a.b"[..], sid, Some(&b"answer.here"[..]), None)
        );
        assert_eq!((m.payload, m.status()), (&b"hello"[..], None));
    });
}

#[test]
fn the_server_introduces_itself() {
    let server = NatsServer::start("server_name: wired\njetstream: disabled\nmax_payload: 2048");
    let first = connect(&server.endpoint());
    let second = connect(&server.endpoint());
    let info = first.server_info();
    assert_eq!(
        (info.server_name.as_str(), info.max_payload, info.jetstream),
        ("wired", 2048, false)
    );
    assert!(info.headers && !info.server_id.is_empty() && info.version.starts_with("2."));
    assert!(second.server_info().client_id > info.client_id);
}

#[test]
fn messages_headers_and_queues() {
    let server = NatsServer::start("");
    publish_and_receive(&server.endpoint());

    let mut connection = connect(&server.endpoint());
    let sid = connection.sub("h", None).unwrap();
    let mut block = Vec::new();
    encode::header_block(&mut block, [("Kind", "chat"), ("Nats-Msg-Id", "run-7")]);
    connection.hpub_frame("h", None, &block, b"with headers").unwrap();
    connection.settle(soon()).unwrap();
    next_message(&mut connection, |m| {
        assert_eq!(
            (m.sid, m.headers, m.payload),
            (sid, Some(block.as_slice()), &b"with headers"[..])
        );
        assert_eq!((m.header("nats-msg-id"), m.status()), (Some(&b"run-7"[..]), None));
    });

    // Of two members of a queue one gets it; after the end of the
    // subscription nobody does.
    let first = connection.sub("q", Some(b"group")).unwrap();
    connection.sub("q", Some(b"group")).unwrap();
    connection.pub_frame("q", None, b"1").unwrap();
    connection.unsub(first, None);
    connection.unsub(first + 1, None);
    connection.pub_frame("q", None, b"2").unwrap();
    connection.pub_frame("h", None, b"last").unwrap();
    connection.settle(soon()).unwrap();
    let payloads: Vec<_> = (0..2)
        .map(|_| next_message(&mut connection, |m| m.payload.to_vec()))
        .collect();
    assert_eq!(payloads, [b"1".to_vec(), b"last".to_vec()]);
}

#[test]
fn a_request_without_responder_is_answered_503_and_echo_can_be_off() {
    let server = NatsServer::start("");
    let mut endpoint = server.endpoint();
    endpoint.echo = false;
    let mut connection = connect(&endpoint);
    connection.sub("inbox.1", None).unwrap();
    connection.pub_frame("inbox.1", None, b"from myself").unwrap();
    connection.pub_frame("nobody.listens", Some(b"inbox.1"), b"?").unwrap();
    connection.flush(soon()).unwrap();
    next_message(&mut connection, |m| {
        assert_eq!((m.subject, m.status()), (&b"inbox.1"[..], Some(503)))
    });
}

#[test]
fn a_responder_answers_from_what_it_received() {
    let server = NatsServer::start("");
    let mut responder = connect(&server.endpoint());
    responder.sub("echo", None).unwrap();
    responder.settle(soon()).unwrap();
    let mut asking = connect(&server.endpoint());
    asking.sub("inbox.*", None).unwrap();
    for n in 0..100 {
        asking
            .pub_frame(
                "echo",
                Some(format!("inbox.{n}").as_bytes()),
                format!("question {n}").as_bytes(),
            )
            .unwrap();
    }
    asking.flush(soon()).unwrap();
    let mut connections = [responder, asking];
    let mut set = PollSet::default();
    let mut answers = 0;
    while answers < 100 {
        assert!(set.wait(&connections, soon()).unwrap() > 0);
        for index in set.ready() {
            let connection = &mut connections[index];
            connection.poll_read(Deadline::NOW).unwrap();
            while let Some(answered) = connection.next_op_with(|op, out| match op {
                Op::Msg(Message {
                    reply: Some(reply),
                    payload,
                    ..
                }) => {
                    encode::publish(out, reply, None, payload);
                    0
                }
                Op::Msg(message) => {
                    let n = message.subject.strip_prefix(b"inbox.").unwrap();
                    assert_eq!(message.payload.strip_prefix(b"question "), Some(n));
                    1
                }
                _ => 0,
            }) {
                answers += answered.unwrap();
            }
            connection.try_flush().unwrap();
        }
    }
}

#[test]
fn a_flood_arrives_whole_and_in_order() {
    const MESSAGES: u64 = 100_000;
    let server = NatsServer::start("");
    let endpoint = server.endpoint();
    let mut subscriber = connect(&endpoint);
    subscriber.sub("flood", None).unwrap();
    subscriber.settle(soon()).unwrap();
    let publisher = std::thread::spawn(move || {
        let mut connection = connect(&endpoint);
        for n in 0..MESSAGES {
            connection.pub_frame("flood", None, &n.to_be_bytes()).unwrap();
            if connection.wants_flush() {
                connection.flush(soon()).unwrap();
            }
        }
        connection.settle(soon()).unwrap();
    });
    for n in 0..MESSAGES {
        next_message(&mut subscriber, |m| assert_eq!(m.payload, n.to_be_bytes()));
    }
    publisher.join().unwrap();
}

#[test]
fn the_servers_pings_are_answered_while_nothing_else_happens() {
    // A hundred unanswered pings, 20 ms apart, would end the connection: what is awaited are more of them than that, and
    // the two seconds leave room for a machine on which this thread does not run for a while.
    let server = NatsServer::start("ping_interval: \"20ms\"\nping_max: 100");
    let mut connection = connect(&server.endpoint());
    let mut pings = 0;
    while pings < 120 {
        assert!(connection.poll_read(soon()).unwrap());
        while let Some(op) = connection.next_op() {
            pings += usize::from(op.unwrap() == Op::Ping);
        }
    }
    connection.settle(soon()).unwrap();
}

#[test]
fn users_passwords_and_tokens() {
    let server = NatsServer::start("authorization { user: alice, password: \"p@ss\" }");
    let at = |user: &str| Endpoint::parse(&format!("nats://{user}127.0.0.1:{}", server.port)).unwrap();
    publish_and_receive(&at("alice:p%40ss@"));
    let wrong = Connection::connect(&at("alice:wrong@"), LONG).unwrap_err();
    assert!(
        matches!(
            &wrong,
            WireError::Auth {
                used: "the user and password",
                ..
            }
        ),
        "{wrong}"
    );
    let none = Connection::connect(&at(""), LONG).unwrap_err();
    assert!(matches!(&none, WireError::Auth { .. }), "{none}");

    let server = NatsServer::start("authorization { token: s3cret }");
    let at = |token: &str| Endpoint::parse(&format!("nats://{token}@127.0.0.1:{}", server.port)).unwrap();
    publish_and_receive(&at("s3cret"));
    let wrong = Connection::connect(&at("other"), LONG).unwrap_err();
    assert!(matches!(&wrong, WireError::Auth { used: "the token", .. }), "{wrong}");
}

#[test]
fn a_permissions_violation_is_told_and_the_connection_goes_on() {
    let server = NatsServer::start(
        "authorization { users: [{ user: u, password: p, permissions: { publish: \"ok.>\", subscribe: \"ok.>\" } }] }",
    );
    let mut connection = connect(&Endpoint::parse(&format!("nats://u:p@127.0.0.1:{}", server.port)).unwrap());
    connection.sub("ok.>", None).unwrap();
    connection.pub_frame("forbidden", None, b"x").unwrap();
    connection.pub_frame("ok.1", None, b"y").unwrap();
    connection.settle(soon()).unwrap();
    let mut seen = Vec::new();
    while let Some(op) = connection.next_op() {
        match op.unwrap() {
            Op::Err(text) => seen.push(text.to_ascii_lowercase()),
            Op::Msg(m) => seen.push(String::from_utf8(m.payload.to_vec()).unwrap()),
            _ => {}
        }
    }
    assert_eq!(seen, ["'permissions violation for publish to \"forbidden\"'", "y"]);
}

#[test]
fn an_nkey_signs_for_its_user() {
    let key = KeyPair::new_user();
    let server = NatsServer::start(&format!(
        "authorization {{ users: [{{ nkey: {} }}] }}",
        key.public_key()
    ));
    let mut endpoint = server.endpoint();
    endpoint.auth = Auth::NKeySeed(key.seed().unwrap());
    publish_and_receive(&endpoint);
    endpoint.auth = Auth::NKeySeed(KeyPair::new_user().seed().unwrap());
    let wrong = Connection::connect(&endpoint, LONG).unwrap_err();
    assert!(matches!(&wrong, WireError::Auth { used: "the nkey", .. }), "{wrong}");
}

/// A token as operators, accounts and users have them.
fn jwt(issuer: &KeyPair, subject: &KeyPair, nats: serde_json::Value) -> String {
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(serde_json::json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let claims = part(serde_json::json!({
        "jti": "TEST", "iat": 1_700_000_000, "iss": issuer.public_key(), "sub": subject.public_key(),
        "name": "test", "nats": nats,
    }));
    let signed = format!("{header}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

#[test]
fn a_credentials_file_proves_a_user_of_an_account() {
    let (operator, account, user) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
    let operator_jwt = jwt(
        &operator,
        &operator,
        serde_json::json!({ "type": "operator", "version": 2 }),
    );
    let unlimited = serde_json::json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
    });
    let account_jwt = jwt(
        &operator,
        &account,
        serde_json::json!({ "type": "account", "version": 2, "limits": unlimited }),
    );
    let user_jwt = jwt(
        &account,
        &user,
        serde_json::json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {} }),
    );
    let server = NatsServer::start(&format!(
        "operator: {operator_jwt}\nresolver: MEMORY\nresolver_preload: {{ {}: {account_jwt} }}",
        account.public_key()
    ));
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, seed: &KeyPair| {
        let path = directory.path().join(name);
        let seed = seed.seed().unwrap();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        std::fs::write(&path, text).unwrap();
        path
    };
    let mut endpoint = server.endpoint();
    endpoint.auth = Auth::Creds(write("right.creds", &user));
    publish_and_receive(&endpoint);
    endpoint.auth = Auth::Creds(write("wrong.creds", &KeyPair::new_user()));
    let wrong = Connection::connect(&endpoint, LONG).unwrap_err();
    assert!(
        matches!(
            &wrong,
            WireError::Auth {
                used: "the credentials file's user",
                ..
            }
        ),
        "{wrong}"
    );
}

#[test]
fn a_message_beyond_max_payload_ends_the_connection_with_its_reason() {
    let server = NatsServer::start("max_payload: 1000");
    let mut connection = connect(&server.endpoint());
    let payload = [0; 1001];
    let error = connection.pub_frame("a", None, &payload).unwrap_err();
    assert!(
        matches!(
            error,
            WireError::MaxPayload {
                size_bytes: 1001,
                max_bytes: 1000
            }
        ),
        "{error}"
    );
    connection.pub_frame("a", None, &payload[..1000]).unwrap();
    connection.settle(soon()).unwrap();
    // A driver that renders its own frames is told by the server.
    encode::publish(connection.out(), b"a", None, &payload);
    connection.flush(soon()).unwrap();
    connection.poll_read(soon()).unwrap();
    let error = next_error(&mut connection);
    assert!(
        matches!(&error, WireError::Server { text, .. } if text == "'Maximum Payload Violation'"),
        "{error}"
    );
    let gone = next_error(&mut connection);
    assert!(matches!(&gone, WireError::Disconnected { .. }), "{gone}");
}

#[test]
fn a_server_killed_amid_a_flood_is_a_disconnect() {
    let mut server = NatsServer::start("");
    let mut connection = connect(&server.endpoint());
    connection.sub("flood", None).unwrap();
    connection.settle(soon()).unwrap();
    let payload = [0; 512];
    let mut sent = 0_u64;
    let error = loop {
        connection.pub_frame("flood", None, &payload).unwrap();
        sent += 1;
        if sent == 50_000 {
            server.kill();
        }
        if connection.wants_flush()
            && let Err(error) = connection.flush(soon())
        {
            break error;
        }
        // Its own messages come back: take them.
        if sent.is_multiple_of(100) {
            match connection.poll_read(Deadline::NOW) {
                Ok(_) => {
                    while let Some(op) = connection.next_op() {
                        op.unwrap();
                    }
                }
                Err(error) => break error,
            }
        }
    };
    assert!(sent >= 50_000);
    assert!(matches!(error, WireError::Disconnected { .. }), "{error}");
    assert!(!error.is_recoverable());
    let again = Connection::connect(&server.endpoint(), LONG).unwrap_err();
    assert!(matches!(again, WireError::Refused { .. }), "{again}");
}

/// A CA, and a certificate of it for the name; as PEM files.
struct Certificates {
    directory: tempfile::TempDir,
}

impl Certificates {
    fn for_name(name: &str) -> Self {
        use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().unwrap();
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&key, &issuer)
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        for (file, pem) in [
            ("ca.pem", ca_pem),
            ("cert.pem", certificate.pem()),
            ("key.pem", key.serialize_pem()),
        ] {
            std::fs::write(directory.path().join(file), pem).unwrap();
        }
        Self { directory }
    }

    fn path(&self, file: &str) -> std::path::PathBuf {
        self.directory.path().join(file)
    }

    fn server(&self, more: &str) -> NatsServer {
        let (cert, key) = (self.path("cert.pem"), self.path("key.pem"));
        NatsServer::start(&format!("tls {{ cert_file: {cert:?}, key_file: {key:?} }}\n{more}"))
    }
}

#[test]
fn tls_with_a_private_ca() {
    let certificates = Certificates::for_name("127.0.0.1");
    // Pings in the middle of a flood; the server's patience is that of a machine with other work to do.
    let server = certificates.server("ping_interval: \"20ms\"\nping_max: 500");
    let mut endpoint = server.endpoint();
    endpoint.tls.ca_file = Some(certificates.path("ca.pem"));
    publish_and_receive(&endpoint);
    endpoint.tls.required = true;
    publish_and_receive(&endpoint);

    // A message of many TLS records, a flood beyond every buffer, and pings
    // in between.
    let mut connection = connect(&endpoint);
    connection.sub("t.>", None).unwrap();
    let large: Vec<u8> = (0..1 << 20).map(|n| (n % 251) as u8).collect();
    for _ in 0..3 {
        connection.pub_frame("t.large", None, &large).unwrap();
    }
    connection.flush(soon()).unwrap();
    for _ in 0..3 {
        next_message(&mut connection, |m| assert!(m.payload == large));
    }
    let (mut sent, mut received) = (0_u32, 0_u32);
    while received < 50_000 {
        while sent < 50_000 && !connection.wants_flush() {
            connection
                .pub_frame("t.n", None, &[&sent.to_be_bytes()[..], &[0; 252]].concat())
                .unwrap();
            sent += 1;
        }
        connection.flush(soon()).unwrap();
        assert!(
            connection
                .poll_read(if sent < 50_000 { Deadline::NOW } else { soon() })
                .unwrap()
                || sent < 50_000
        );
        while let Some(op) = connection.next_op() {
            if let Op::Msg(m) = op.unwrap() {
                assert_eq!(m.payload[..4], received.to_be_bytes());
                received += 1;
            }
        }
    }
    assert_eq!(connection.unsent_bytes(), 0);

    // Many messages in one record: the socket is silent after the first read.
    let mut set = PollSet::default();
    let mut connections = [connection];
    for _ in 0..2_000 {
        connections[0].pub_frame("t.s", None, &[1; 100]).unwrap();
    }
    connections[0].settle(soon()).unwrap();
    let mut messages = 0;
    while messages < 2_000 {
        assert_eq!(set.wait(&connections, soon()).unwrap(), 1);
        connections[0].poll_read(Deadline::NOW).unwrap();
        while let Some(op) = connections[0].next_op() {
            messages += usize::from(matches!(op.unwrap(), Op::Msg(_)));
        }
    }
}

#[test]
fn tls_failures_say_what_to_do() {
    let certificates = Certificates::for_name("somewhere.else");
    let server = certificates.server("");
    let mut endpoint = server.endpoint();
    let refused = |endpoint: &Endpoint| {
        let error = Connection::connect(endpoint, LONG).unwrap_err();
        assert!(matches!(error, WireError::Tls { .. }), "{error}");
        error.to_string()
    };
    let others = Certificates::for_name("127.0.0.1");
    endpoint.tls.ca_file = Some(others.path("ca.pem"));
    let error = refused(&endpoint);
    assert!(
        error.contains("give the CA that signed the server's certificate as tls_ca"),
        "{error}"
    );
    endpoint.tls.ca_file = Some(certificates.path("ca.pem"));
    let error = refused(&endpoint);
    assert!(
        error.contains("connect by a name that the certificate carries"),
        "{error}"
    );
    endpoint.tls.server_name = Some("somewhere.else".into());
    publish_and_receive(&endpoint);
    endpoint.tls.ca_file = Some("/nowhere/ca.pem".into());
    let error = refused(&endpoint);
    assert!(error.contains("/nowhere/ca.pem"), "{error}");
    endpoint.tls.ca_file = Some(certificates.path("key.pem"));
    let error = refused(&endpoint);
    assert!(error.contains("no certificate"), "{error}");
}

#[test]
fn tls_to_a_server_that_dies_is_a_disconnect() {
    let certificates = Certificates::for_name("127.0.0.1");
    let mut server = certificates.server("");
    let mut endpoint = server.endpoint();
    endpoint.tls.ca_file = Some(certificates.path("ca.pem"));
    let mut connection = connect(&endpoint);
    server.kill();
    let error = next_error(&mut connection);
    assert!(matches!(error, WireError::Disconnected { .. }), "{error}");
}
