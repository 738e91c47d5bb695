//! The wire client against a peer that follows a script, for what a real
//! server does rarely or never.

// Functions beside the tests are tests too, though clippy does not see it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use eventbench_drivers::wire::{Auth, Connection, Deadline, Endpoint, Op, PollSet, WireError};

const LONG: Duration = Duration::from_secs(20);
const INFO: &str =
    r#"INFO {"server_id":"S","version":"2.11.0","proto":1,"headers":true,"max_payload":1048576,"client_id":7}"#;

/// A peer that runs a script on its only connection.
struct Peer {
    endpoint: Endpoint,
    script: JoinHandle<()>,
}

impl Peer {
    fn new(script: impl FnOnce(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint::new("127.0.0.1", listener.local_addr().unwrap().port());
        let script = std::thread::spawn(move || {
            let (socket, _) = listener.accept().unwrap();
            socket.set_read_timeout(Some(LONG)).unwrap();
            socket.set_write_timeout(Some(LONG)).unwrap();
            script(socket);
        });
        Self { endpoint, script }
    }

    /// A peer that accepts the client like a server and then runs the script.
    fn accepting(script: impl FnOnce(TcpStream) + Send + 'static) -> Self {
        Self::new(move |mut socket| {
            say(&mut socket, INFO);
            assert!(line(&mut socket).starts_with("CONNECT {"));
            assert_eq!(line(&mut socket), "PING");
            say(&mut socket, "PONG");
            script(socket);
        })
    }

    fn connect(&self) -> Result<Connection, WireError> {
        Connection::connect(&self.endpoint, LONG)
    }

    fn done(self) {
        self.script.join().unwrap();
    }
}

fn say(socket: &mut TcpStream, text: &str) {
    socket.write_all(format!("{text}\r\n").as_bytes()).unwrap();
}

fn line(socket: &mut TcpStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        socket.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

fn refused(script: impl FnOnce(TcpStream) + Send + 'static) -> WireError {
    let peer = Peer::new(script);
    let error = peer.connect().unwrap_err();
    peer.done();
    error
}

/// Waits for one operation and shows it.
fn next(connection: &mut Connection) -> Result<String, WireError> {
    loop {
        if let Some(op) = connection.next_op() {
            return op.map(|op| match op {
                Op::Msg(m) => format!("{} {}", m.subject.escape_ascii(), m.payload.escape_ascii()),
                other => format!("{other:?}"),
            });
        }
        if !connection.poll_read(Deadline::after(LONG))? {
            panic!("nothing came");
        }
    }
}

#[test]
fn connect_says_who_we_are_and_learns_who_the_server_is() {
    let mut peer = Peer::new(|mut socket| {
        say(&mut socket, INFO);
        let connect = line(&mut socket);
        let json: serde_json::Value = serde_json::from_str(connect.strip_prefix("CONNECT ").unwrap()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "verbose": false, "pedantic": false, "headers": true, "no_responders": true, "echo": false,
                "tls_required": false, "name": "lane 3", "lang": "rust", "version": env!("CARGO_PKG_VERSION"),
                "protocol": 1, "user": "u", "pass": "p",
            })
        );
        assert_eq!(line(&mut socket), "PING");
        // A server that is verbose, says INFO again and asks itself is a server all the same.
        say(
            &mut socket,
            "+OK\r\nINFO {\"max_payload\":2048,\"ldm\":true}\r\nPING\r\nPONG",
        );
        assert_eq!(line(&mut socket), "PONG");
    });
    peer.endpoint.name = "lane 3".into();
    peer.endpoint.echo = false;
    peer.endpoint.auth = Auth::UserPassword {
        user: "u".into(),
        password: "p".into(),
    };
    let mut connection = peer.connect().unwrap();
    assert_eq!(connection.server_info().max_payload, 2048);
    assert!(connection.server_info().lame_duck);
    assert_eq!(
        (
            connection.pongs(),
            connection.written_bytes(),
            connection.unsent_bytes()
        ),
        (0, 0, 0)
    );
    assert!(connection.next_op().is_none());
    peer.done();
}

#[test]
fn what_is_no_server_is_refused_with_its_words() {
    let http = refused(|mut s| s.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap());
    assert!(matches!(http, WireError::Protocol { .. }), "{http}");
    assert!(http.to_string().contains("HTTP/1.1 400 Bad Request") && http.to_string().contains("client port?"));
    let json = refused(|mut s| say(&mut s, "INFO {nonsense"));
    assert!(json.to_string().contains("INFO can't be read"), "{json}");
    let early = refused(|mut s| say(&mut s, "PING"));
    assert!(early.to_string().contains("first operation is not INFO"), "{early}");
    let closed = refused(drop);
    assert!(
        matches!(closed, WireError::Disconnected { .. } | WireError::Io { .. }),
        "{closed}"
    );
    let endless = refused(|mut s| {
        // The client hangs up in the middle of this.
        let _ = s.write_all(&[b"INFO ".as_slice(), &vec![b'x'; 1 << 20]].concat());
    });
    assert!(endless.to_string().contains("exceeds 65536 bytes"), "{endless}");
}

#[test]
fn an_error_in_place_of_acceptance_is_told_apart() {
    let full = refused(|mut s| say(&mut s, "-ERR 'maximum connections exceeded'"));
    assert!(
        matches!(&full, WireError::Server { text, .. } if text == "'maximum connections exceeded'"),
        "{full}"
    );
    let auth = refused(|mut s| {
        say(&mut s, INFO);
        line(&mut s);
        line(&mut s);
        say(&mut s, "-ERR 'Authorization Violation'");
    });
    assert!(
        matches!(
            &auth,
            WireError::Auth {
                used: "a connection without credentials",
                ..
            }
        ),
        "{auth}"
    );
}

#[test]
fn a_port_without_listener_is_refused_with_advice() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = Connection::connect(&Endpoint::new("127.0.0.1", port), LONG).unwrap_err();
    assert!(matches!(error, WireError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("start a nats-server on that port"));
}

#[test]
fn of_several_servers_the_first_that_can_be_reached_is_taken() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // Takes connections into its backlog and never says a word, as a server that stands still does.
    let frozen = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = frozen.local_addr().unwrap().port();
    let peer = Peer::accepting(|_| {});
    let mut list = Endpoint::new("127.0.0.1", silent);
    let places = std::iter::repeat_n(nobody, 10).chain([peer.endpoint.port]);
    list.others = places.map(|port| ("127.0.0.1".to_owned(), port)).collect();
    // The silent server's share is a twelfth; what is left of the others' goes to those after them.
    let connection = Connection::connect(&list, Duration::from_secs(12)).unwrap();
    assert_eq!(connection.address(), format!("127.0.0.1:{}", peer.endpoint.port));
    peer.done();

    list = Endpoint::new("127.0.0.1", nobody);
    list.others = vec![("127.0.0.1".to_owned(), silent)];
    let error = Connection::connect(&list, Duration::from_secs(2))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("none of the servers can be reached")
            && error.contains(&format!("127.0.0.1:{nobody}: connection refused"))
            && error.contains(&format!("127.0.0.1:{silent}: timed out")),
        "{error}"
    );

    // A server that is there and refuses us ends the search: nobody is asked after it.
    let guard = Peer::new(|mut socket| {
        say(&mut socket, INFO);
        assert!(line(&mut socket).starts_with("CONNECT {"));
        assert_eq!(line(&mut socket), "PING");
        say(&mut socket, "-ERR 'Authorization Violation'");
    });
    list = guard.endpoint.clone();
    list.others = vec![("127.0.0.1".to_owned(), silent)];
    let error = Connection::connect(&list, LONG).unwrap_err();
    assert!(matches!(error, WireError::Auth { .. }), "{error}");
    guard.done();
}

#[test]
fn a_silent_server_is_given_up_at_the_deadline() {
    for greeting in ["", INFO] {
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let peer = Peer::new(move |mut socket| {
            if !greeting.is_empty() {
                say(&mut socket, greeting);
            }
            let _ = held.recv();
        });
        let error = Connection::connect(&peer.endpoint, Duration::from_millis(60)).unwrap_err();
        assert!(matches!(error, WireError::Timeout { .. }), "{error}");
        drop(hold);
        peer.done();
    }
}

#[test]
fn tls_that_is_asked_for_is_not_given_up_silently() {
    let mut peer = Peer::new(|mut socket| say(&mut socket, INFO));
    peer.endpoint.tls.required = true;
    let error = peer.connect().unwrap_err();
    assert!(error.to_string().contains("does not offer it"), "{error}");
    peer.done();
    let injected = refused(|mut socket| {
        socket
            .write_all(b"INFO {\"tls_required\":true}\r\nMSG a 1 0\r\n\r\n")
            .unwrap();
    });
    assert!(
        injected.to_string().contains("between INFO and the TLS handshake"),
        "{injected}"
    );
}

#[test]
fn a_ping_amid_messages_is_answered_and_order_is_kept() {
    let peer = Peer::accepting(|mut socket| {
        socket
            .write_all(b"MSG a 1 3\r\none\r\nPING\r\nMSG b 1 3\r\ntwo\r\n")
            .unwrap();
        assert_eq!(line(&mut socket), "PONG");
        say(&mut socket, "MSG c 1 5\r\nthree");
    });
    let mut connection = peer.connect().unwrap();
    let seen: Vec<_> = (0..4).map(|_| next(&mut connection).unwrap()).collect();
    assert_eq!(seen, ["a one", "Ping", "b two", "c three"]);
    peer.done();
}

#[test]
fn settle_leaves_messages_and_answers_pings_on_the_way() {
    let peer = Peer::accepting(|mut socket| {
        assert_eq!(line(&mut socket), "PUB x 2");
        assert_eq!(line(&mut socket), "hi");
        assert_eq!(line(&mut socket), "PING");
        socket.write_all(b"MSG a 1 3\r\none\r\nPING\r\n").unwrap();
        assert_eq!(line(&mut socket), "PONG");
        socket
            .write_all(b"-ERR 'Permissions Violation for Publish to \"x\"'\r\nPONG\r\nMSG b 1 3\r\nt")
            .unwrap();
        assert_eq!(line(&mut socket), "PING");
        socket.write_all(b"wo\r\nPONG\r\n").unwrap();
    });
    let mut connection = peer.connect().unwrap();
    connection.pub_frame("x", None, b"hi").unwrap();
    connection.settle(Deadline::after(LONG)).unwrap();
    assert_eq!(connection.pongs(), 1);
    connection.settle(Deadline::after(LONG)).unwrap();
    assert_eq!(connection.pongs(), 2);
    let seen: Vec<_> = (0..6).map(|_| next(&mut connection).unwrap()).collect();
    assert_eq!(
        seen,
        [
            "a one",
            "Ping",
            "Err(\"'Permissions Violation for Publish to \\\"x\\\"'\")",
            "Pong",
            "b two",
            "Pong"
        ]
    );
    assert_eq!(connection.pongs(), 2, "what was read ahead is not counted twice");
    peer.done();
}

#[test]
fn a_pong_that_nobody_asked_for_settles_nothing() {
    let peer = Peer::accepting(|mut socket| {
        assert_eq!(line(&mut socket), "UNSUB 1");
        say(&mut socket, "PONG");
    });
    let mut connection = peer.connect().unwrap();
    connection.unsub(1, None);
    let error = next(&mut connection).unwrap_err();
    assert!(matches!(error, WireError::Protocol { .. }), "{error}");
    peer.done();
}

#[test]
fn a_disconnect_says_what_was_pending_and_the_servers_last_words() {
    let peer = Peer::accepting(|mut socket| {
        assert_eq!(line(&mut socket), "PING");
        socket
            .write_all(b"MSG a 1 3\r\none\r\n-ERR 'Slow Consumer'\r\n")
            .unwrap();
    });
    let mut connection = peer.connect().unwrap();
    connection.ping();
    connection.flush(Deadline::after(LONG)).unwrap();
    assert_eq!(
        next(&mut connection).unwrap(),
        "a one",
        "what came before the end is not lost"
    );
    let error = next(&mut connection).unwrap_err();
    assert!(
        matches!(&error, WireError::Server { text, .. } if text == "'Slow Consumer'"),
        "{error}"
    );
    connection.pub_frame("a", None, &[0; 100]).unwrap();
    let error = next(&mut connection).unwrap_err();
    let WireError::Disconnected {
        reason,
        unanswered_pings,
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert!(reason.contains("'Slow Consumer'"), "{reason}");
    assert_eq!(*unanswered_pings, 1);
    peer.done();
}

#[test]
fn a_write_to_a_closed_connection_reports_unsent_bytes() {
    let peer = Peer::accepting(|_| ());
    let mut connection = peer.connect().unwrap();
    let payload = vec![0; 1 << 20];
    let error = loop {
        connection.pub_frame("a", None, &payload).unwrap();
        if let Err(error) = connection.flush(Deadline::after(LONG)) {
            break error;
        }
    };
    assert!(
        matches!(error, WireError::Disconnected { unsent_bytes: 1.., .. }),
        "{error}"
    );
    peer.done();
}

#[test]
fn garbage_in_the_stream_ends_it() {
    let peer = Peer::accepting(|mut socket| {
        assert_eq!(line(&mut socket), "UNSUB 1");
        socket.write_all(b"MSG a 1 3\r\none\r\nMSG a 1 99999999\r\n").unwrap();
    });
    let mut connection = peer.connect().unwrap();
    connection.unsub(1, None);
    assert_eq!(next(&mut connection).unwrap(), "a one");
    for _ in 0..2 {
        let error = next(&mut connection).unwrap_err();
        assert!(
            error.to_string().contains("announced a message of 99999999 bytes"),
            "{error}"
        );
    }
    peer.done();
}

#[test]
fn what_breaks_the_framing_or_exceeds_the_limit_is_not_framed() {
    let peer = Peer::accepting(|mut socket| {
        assert_eq!(socket.read(&mut [0; 16]).unwrap(), 0);
    });
    let mut connection = peer.connect().unwrap();
    let large = vec![0; (1 << 20) + 1];
    for (result, expected) in [
        (connection.pub_frame("a b", None, b""), "`a b` can't be a subject"),
        (connection.pub_frame("", None, b""), "`` can't be a subject"),
        (
            connection.pub_frame("a", Some(b"r\r\nPING"), b""),
            "`r\\r\\nPING` can't be a subject",
        ),
        (connection.pub_frame("a", None, &large), "of 1048577 bytes"),
        (
            connection.hpub_frame("a", None, b"NATS/1.0\r\n\r\n", &large[..1 << 20]),
            "of 1048588 bytes",
        ),
        (connection.sub("a", Some(b"q q")).map(drop), "`q q` can't be a subject"),
    ] {
        let error = result.unwrap_err();
        assert!(
            error.to_string().contains(expected) && error.is_recoverable(),
            "{error}"
        );
    }
    assert_eq!(connection.unsent_bytes(), 0);
    drop(connection);
    peer.done();
}

/// Both sides write and neither reads before it has written: with a client
/// that only writes this would never end.
#[test]
fn a_peer_that_writes_before_it_reads_does_not_deadlock() {
    const BYTES: usize = 24 << 20;
    let mut peer = Peer::accepting(|mut socket| {
        let message = [b"MSG a 1 65536\r\n".as_slice(), &[b'x'; 65536], b"\r\n"].concat();
        for _ in 0..BYTES / 65536 {
            socket.write_all(&message).unwrap();
        }
        say(&mut socket, "PING");
        let mut buf = vec![0; 1 << 16];
        let (mut pubs, mut tail) = (0, Vec::new());
        while !tail.ends_with(b"PONG\r\n") {
            let n = socket.read(&mut buf).unwrap();
            assert!(n > 0, "closed before PONG");
            pubs += n;
            tail.extend_from_slice(&buf[..n]);
            tail.drain(..tail.len().saturating_sub(6));
        }
        assert!(pubs > BYTES);
    });
    peer.endpoint.backlog_bytes = 64 << 20;
    let mut connection = peer.connect().unwrap();
    let payload = vec![b'y'; 1 << 16];
    for _ in 0..BYTES / payload.len() {
        connection.pub_frame("b", None, &payload).unwrap();
    }
    connection.flush(Deadline::after(LONG)).unwrap();
    let mut messages = 0;
    loop {
        match next(&mut connection) {
            Ok(op) if op == "Ping" => break,
            Ok(op) => messages += usize::from(op.starts_with("a ")),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(messages, BYTES / 65536);
    connection.flush(Deadline::after(LONG)).unwrap();
    peer.done();
}

#[test]
fn a_peer_that_does_not_read_times_out_the_flush_and_nothing_is_lost() {
    const MESSAGES: usize = 400;
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let peer = Peer::accepting(move |mut socket| {
        wait.recv().unwrap();
        for n in 0..MESSAGES {
            assert_eq!(line(&mut socket), format!("PUB b.{n} 65536"));
            let mut payload = vec![0; 65536 + 2];
            socket.read_exact(&mut payload).unwrap();
            assert!(payload[..65536].iter().all(|&b| b == n as u8));
        }
    });
    let mut connection = peer.connect().unwrap();
    for n in 0..MESSAGES {
        connection.pub_frame(format!("b.{n}"), None, &[n as u8; 65536]).unwrap();
    }
    let before = connection.unsent_bytes();
    let error = connection
        .flush(Deadline::after(Duration::from_millis(80)))
        .unwrap_err();
    let WireError::Timeout { unsent_bytes, .. } = error else {
        panic!("{error}")
    };
    assert!(
        error.is_recoverable() && unsent_bytes > 0 && unsent_bytes < before,
        "{unsent_bytes} of {before}"
    );
    assert_eq!(unsent_bytes, connection.unsent_bytes());
    go.send(()).unwrap();
    connection.flush(Deadline::after(LONG)).unwrap();
    assert_eq!(connection.written_bytes() as usize, before);
    peer.done();
}

#[test]
fn a_flood_that_nobody_takes_ends_in_an_error_with_bounded_memory() {
    let mut peer = Peer::accepting(|mut socket| {
        let message = [b"MSG a 1 65536\r\n".as_slice(), &[b'x'; 65536], b"\r\n"].concat();
        while socket.write_all(&message).is_ok() {}
    });
    peer.endpoint.backlog_bytes = 2 << 20;
    let mut connection = peer.connect().unwrap();
    let error = connection.settle(Deadline::after(LONG)).unwrap_err();
    let WireError::Backlog { unread_bytes, .. } = error else {
        panic!("{error}")
    };
    assert!(unread_bytes <= 2 << 20);
    assert!(error.is_recoverable());
    // Taking makes room again.
    for _ in 0..1000 {
        assert!(next(&mut connection).unwrap().starts_with("a "));
    }
    drop(connection);
    peer.done();
}

#[test]
fn many_connections_are_waited_for_together() {
    const PEERS: usize = 5;
    let mut peers = Vec::new();
    let mut tell = Vec::new();
    for n in 0..PEERS {
        let (go, wait) = std::sync::mpsc::channel::<&str>();
        tell.push(go);
        peers.push(Peer::accepting(move |mut socket| {
            for text in wait {
                say(&mut socket, text);
            }
            say(&mut socket, &format!("MSG end 1 1\r\n{n}"));
        }));
    }
    let mut connections: Vec<_> = peers.iter().map(|peer| peer.connect().unwrap()).collect();
    let mut set = PollSet::with_capacity(PEERS);
    let nothing = set
        .wait(&connections, Deadline::after(Duration::from_millis(5)))
        .unwrap();
    assert_eq!((nothing, set.ready().count()), (0, 0));

    tell[3].send("MSG a 1 1\r\nx\r\nMSG a 1 1\r\ny").unwrap();
    assert_eq!(set.wait(&connections, Deadline::after(LONG)).unwrap(), 1);
    assert!(set.is_ready(3) && !set.is_ready(2) && !set.is_ready(99));
    assert_eq!(next(&mut connections[3]).unwrap(), "a x");
    // One operation was read and not taken: that is ready, without a wait.
    if connections[3].has_buffered() {
        assert_eq!(set.wait(&connections, Deadline::NEVER).unwrap(), 1);
    }
    assert_eq!(next(&mut connections[3]).unwrap(), "a y");

    drop(tell);
    let mut ended = [false; PEERS];
    while ended.contains(&false) {
        assert!(set.wait(&connections, Deadline::after(LONG)).unwrap() > 0);
        for index in set.ready() {
            match connections[index].poll_read(Deadline::NOW) {
                Ok(_) => {
                    while let Some(op) = connections[index].next_op() {
                        assert!(matches!(op.unwrap(), Op::Msg(m) if m.payload == index.to_string().as_bytes()));
                    }
                }
                Err(error) => {
                    assert!(
                        matches!(error, WireError::Disconnected { unread_bytes: 0, .. }),
                        "{error}"
                    );
                    ended[index] = true;
                }
            }
        }
    }
    peers.into_iter().for_each(Peer::done);
}
