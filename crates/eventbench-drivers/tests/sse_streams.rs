//! Streams of events from a scripted server: what they are measured as, and what they are not let off.

// Functions beside the tests are tests too, though clippy does not see it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod served;

use served::{Request, STREAM, Served, chunk, closed, event, nobody, respond, run_of, runs, stream};
use std::io::Write;
use std::time::Duration;

/// A server whose runs are changed before they are streamed.
fn changed(change: impl Fn(usize, &mut Vec<String>) + Send + Sync + 'static) -> Served {
    Served::answering(move |number, request, socket| {
        let mut events = run_of(request);
        change(number, &mut events);
        stream(socket, &events);
    })
}

#[test]
fn a_run_is_read_verified_and_timed() {
    let server = changed(|_, _| {});
    let came = closed(&runs(&server.url(), "expect = \"word 3\"\nevents = 20"), 2, 30);
    assert_eq!(came.ends(), [30, 0, 0, 0], "{:?}", came.causes);
    assert_eq!(
        (came.count("events"), came.count("violations"), came.count("truncated")),
        (600, 0, 0)
    );
    assert_eq!(
        (came.times("connect_time").count(), came.times("headers_time").count()),
        (2, 30)
    );
    assert_eq!(
        (
            came.times("first_event_time").count(),
            came.times("first_text_time").count()
        ),
        (30, 30)
    );
    assert_eq!(
        (came.times("event_gap").count(), came.times("stall").count()),
        (570, 30)
    );
    assert_eq!(
        (came.times("event_time").count(), came.times("event_time").negative()),
        (600, 0)
    );
    assert_eq!(came.times("events.per_stream").min_ns(), Some(20.0));
    assert_eq!(came.lane.recorder.service.count(), 30);
    assert_eq!(server.connections.load(std::sync::atomic::Ordering::SeqCst), 2);
    assert!(came.count("wire.sent") > 30 * 100 && came.count("wire.received") > 30 * 1000);
}

#[test]
fn a_stream_may_come_byte_by_byte_in_chunks_of_one() {
    let server = Served::answering(|_, request, socket| {
        socket.write_all(STREAM).unwrap();
        let text: String = run_of(request).iter().map(|fields| event(fields)).collect();
        for byte in text.as_bytes() {
            let bytes = chunk(&[*byte]);
            let (left, right) = bytes.split_at(2);
            socket.write_all(left).unwrap();
            socket.write_all(right).unwrap();
        }
        socket.write_all(b"0\r\n\r\n").unwrap();
    });
    let came = closed(&runs(&server.url(), "events = 20"), 1, 2);
    assert_eq!(came.ends(), [2, 0, 0, 0], "{:?}", came.causes);
}

#[test]
fn a_stream_that_is_cut_is_truncated_and_one_that_stops_short_breaks_a_rule() {
    let server = Served::new(|_, mut socket| {
        let Some(request) = Request::read(&mut socket) else {
            return;
        };
        let mut bytes = STREAM.to_vec();
        for fields in &run_of(&request)[..7] {
            bytes.extend_from_slice(&chunk(event(fields).as_bytes()));
        }
        socket.write_all(&bytes).unwrap();
    });
    let came = closed(&runs(&server.url(), ""), 1, 3);
    assert_eq!((came.ends(), came.count("truncated")), ([0, 0, 0, 3], 3));
    let (cause, example) = came.cause();
    assert_eq!(
        (cause, example.contains("after 7 events")),
        ("truncated", true),
        "{example}"
    );

    let server = changed(|_, events| events.truncate(19));
    let came = closed(&runs(&server.url(), ""), 1, 3);
    assert_eq!(
        (came.ends(), came.count("violations{rule:run-finished-missing}")),
        ([0, 3, 0, 0], 3)
    );
    assert_eq!(came.cause().0, "violation run-finished-missing");

    // A body without a length ends with the connection: then the run tells whether it was whole.
    let server = Served::new(|number, mut socket| {
        let Some(request) = Request::read(&mut socket) else {
            return;
        };
        let mut text = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n".to_owned();
        let events = run_of(&request);
        text.extend(
            events
                .iter()
                .take(if number == 0 { 20 } else { 12 })
                .map(|fields| event(fields)),
        );
        // The official client takes a last event without its blank line.
        socket.write_all(text.trim_end().as_bytes()).unwrap();
    });
    let came = closed(&runs(&server.url(), ""), 1, 2);
    assert_eq!(
        (came.ends(), came.cause().0),
        ([1, 1, 0, 0], "violation run-finished-missing")
    );
}

#[test]
fn what_the_official_client_does_not_catch_is_named() {
    type Change = fn(usize, &mut Vec<String>);
    let cases: [(&str, Change); 5] = [
        ("run-id", |_, events| {
            events[0] = events[0].replace("\"runId\":\"r", "\"runId\":\"x")
        }),
        ("thread-id", |_, events| {
            events[19] = events[19].replace("\"threadId\":\"t", "\"threadId\":\"x")
        }),
        ("tool-result-unknown", |_, events| {
            events[16] = events[16].replace("c1", "c2")
        }),
        ("state-delta", |_, events| {
            events[17] = events[17].replace("/step", "/missing")
        }),
        ("tool-call-arguments", |_, events| {
            events[14] = events[14].replace("7}", "7")
        }),
    ];
    for (rule, change) in cases {
        // Only every other run is wrong.
        let server = changed(move |number, events| {
            if number % 2 == 1 {
                change(number, events);
            }
        });
        let came = closed(&runs(&server.url(), ""), 1, 10);
        let tagged = came.count(&format!("violations{{rule:{rule}}}"));
        assert_eq!(
            (came.ends(), tagged, came.count("violations")),
            ([5, 5, 0, 0], 5, 5),
            "{:?}",
            came.causes
        );
        assert_eq!(came.cause().0, format!("violation {rule}"));
    }
}

#[test]
fn every_tenth_event_dropped_is_noticed_in_every_stream() {
    // From the first event of the server's life on, whichever of a run it falls on.
    let server = changed(|number, events| {
        let mut count = number * 20;
        events.retain(|_| {
            count += 1;
            count % 10 != 0
        });
    });
    let came = closed(&runs(&server.url(), "events = 20"), 1, 10);
    assert_eq!(
        (came.ends(), came.count("violations{rule:event-count}")),
        ([0, 10, 0, 0], 10)
    );
    assert_eq!(came.times("events.per_stream").max_ns(), Some(18.0));
}

#[test]
fn a_slower_emitter_and_a_stall_show_in_the_figures() {
    let server = Served::answering(|_, request, socket| {
        socket.write_all(STREAM).unwrap();
        for fields in run_of(request) {
            std::thread::sleep(Duration::from_millis(50));
            let _ = socket.write_all(&chunk(event(&fields).as_bytes()));
        }
        let _ = socket.write_all(b"0\r\n\r\n");
    });
    let came = closed(&runs(&server.url(), ""), 1, 1);
    assert_eq!(came.ends(), [1, 0, 0, 0], "{:?}", came.causes);
    // However the machine schedules: what comes before the last event adds up to no less than what was slept.
    let gaps = came.times("event_gap");
    let total = came.times("first_event_time").max_ns().unwrap() + gaps.mean_ns().unwrap() * gaps.count() as f64;
    assert!(total >= 20.0 * 50e6, "{total}");

    let server = Served::answering(|number, request, socket| {
        let events: Vec<Vec<u8>> = run_of(request)
            .iter()
            .map(|fields| chunk(event(fields).as_bytes()))
            .collect();
        socket.write_all(&[STREAM, &events[..10].concat()].concat()).unwrap();
        if number == 17 {
            std::thread::sleep(Duration::from_secs(2));
        }
        socket
            .write_all(&[&events[10..].concat()[..], b"0\r\n\r\n"].concat())
            .unwrap();
    });
    let came = closed(&runs(&server.url(), ""), 4, 40);
    assert_eq!((came.ends(), came.times("stall").count()), ([40, 0, 0, 0], 40));
    let longest = came.times("stall").max_ns().unwrap() + came.times("first_event_time").max_ns().unwrap();
    assert!(longest >= 2e9, "{longest}");
}

#[test]
fn a_run_that_ends_with_an_error_is_one_and_no_violation() {
    let server = changed(|_, events| {
        events.truncate(1);
        events.push(r#""type":"RUN_ERROR","message":"no such account","code":"E42""#.to_owned());
    });
    let came = closed(&runs(&server.url(), ""), 1, 3);
    assert_eq!(
        (came.ends(), came.count("run_errors"), came.count("violations")),
        ([0, 3, 0, 0], 3, 0)
    );
    assert_eq!(came.cause(), ("run error E42", "no such account"));
}

#[test]
fn plain_streams_are_read_without_rules() {
    let server = Served::answering(|number, _, socket| {
        let text = [
            "data: a\r\n\r\n: beat\n\ndata: b\rdata: c\r\r",
            "data: a\n\ndata: b",
            "data: a\n\ndata: b\n\n",
        ][number % 3];
        let head =
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream;charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n";
        socket
            .write_all(&[&head[..], &chunk(text.as_bytes()), b"0\r\n\r\n"].concat())
            .unwrap();
    });
    let settings = format!("driver = \"sse\"\nurl = \"{}\"\nexpect = \"c\"", server.url());
    let came = closed(&settings, 1, 3);
    assert_eq!(
        (came.ends(), came.count("events"), came.count("truncated")),
        ([1, 2, 0, 0], 5, 1)
    );
    let causes: Vec<&str> = came.causes.iter().map(|c| c.cause.as_str()).collect();
    assert_eq!(causes, ["expected text missing", "unfinished event"]);
}

#[test]
fn lines_that_the_official_client_would_not_split_are_named() {
    let server = Served::answering(|_, request, socket| {
        let text: String = run_of(request).iter().map(|fields| event(fields)).collect();
        let text = text.replace('\n', "\r\n");
        socket
            .write_all(&[STREAM, &chunk(text.as_bytes()), b"0\r\n\r\n"].concat())
            .unwrap();
    });
    let came = closed(&runs(&server.url(), ""), 1, 1);
    assert_eq!((came.ends(), came.cause().0), ([0, 1, 0, 0], "violation line-ends"));
}

#[test]
fn a_stream_that_stops_in_the_midst_of_an_event_is_not_finished_in_time() {
    let server = Served::answering(|_, request, socket| {
        let text = event(&run_of(request)[0]);
        let bytes = chunk(&text.as_bytes()[..text.len() / 2]);
        socket.write_all(&[STREAM, &bytes].concat()).unwrap();
    });
    let came = closed(&runs(&server.url(), "timeout = \"10s\""), 1, 1);
    assert_eq!((came.ends(), came.cause().0), ([0, 0, 1, 0], "not finished in time"));
}

#[test]
fn hostile_servers_are_counted_and_bounded() {
    // Never answers.
    let server = Served::answering(|_, _, _| {});
    let came = closed(&runs(&server.url(), "timeout = \"200ms\""), 2, 4);
    assert_eq!((came.ends(), came.cause().0), ([0, 0, 4, 0], "no answer in time"));

    // Answers a page.
    let server = Served::answering(|_, _, socket| {
        respond(socket, "200 OK", "Content-Type: text/html\r\n", "<html>log in</html>")
    });
    let came = closed(&runs(&server.url(), ""), 1, 2);
    assert_eq!(
        (came.ends(), came.cause()),
        (
            [0, 2, 0, 0],
            ("not an event stream", "Content-Type: text/html; <html>log in</html>")
        )
    );

    // One line without end: the connection is given up as soon as the line is too long.
    let server = Served::answering(|_, _, socket| {
        socket.write_all(&[STREAM, &chunk(b"data: ")].concat()).unwrap();
        let piece = chunk(&[b'x'; 60_000]);
        let mut written = 0;
        while written < 100 << 20 && socket.write_all(&piece).is_ok() {
            written += piece.len();
        }
        assert!(written < 100 << 20, "all of it was read");
    });
    let came = closed(&runs(&server.url(), ""), 1, 1);
    assert_eq!(
        (came.ends(), came.count("violations{rule:event-too-large}")),
        ([0, 1, 0, 0], 1)
    );
    assert_eq!(
        came.cause(),
        ("violation event-too-large", "an event is longer than 1048576 bytes")
    );
    assert!(came.count("wire.received") < 8 << 20);

    // Nothing behind the head.
    let server = Served::new(|_, mut socket| {
        Request::read(&mut socket);
        let _ = socket.write_all(STREAM);
    });
    let came = closed(&runs(&server.url(), ""), 1, 2);
    assert_eq!(
        (came.ends(), came.cause().0, came.count("truncated")),
        ([0, 0, 0, 2], "truncated", 2)
    );

    // A redirection.
    let server = Served::answering(|_, _, socket| respond(socket, "302 Found", "Location: /login\r\n", ""));
    let came = closed(&runs(&server.url(), ""), 1, 2);
    assert_eq!(
        (came.ends(), came.count("statuses{status:302}"), came.cause().0),
        ([0, 2, 0, 0], 2, "status 302")
    );
    assert!(
        came.cause().1.contains("/login, which is not followed"),
        "{:?}",
        came.causes
    );

    // Sizes of chunks that are wrong, a size that is none, and what is no HTTP at all.
    for wrong in [
        [STREAM, b"3\r\ndata: x\n\n\r\n0\r\n\r\n"].concat(),
        [STREAM, b"xyz\r\n"].concat(),
        b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n"
            .to_vec(),
    ] {
        let server = Served::answering(move |_, _, socket| drop(socket.write_all(&wrong)));
        let came = closed(&runs(&server.url(), ""), 1, 1);
        assert_eq!((came.ends(), came.cause().0), ([0, 1, 0, 0], "malformed response"));
    }

    // A head without end.
    let server = Served::answering(|_, _, socket| {
        let mut alive = socket.write_all(b"HTTP/1.1 200 OK\r\n").is_ok();
        while alive {
            alive = socket
                .write_all(format!("A: {}\r\n", "x".repeat(8000)).as_bytes())
                .is_ok();
        }
    });
    let came = closed(&runs(&server.url(), ""), 1, 1);
    assert_eq!((came.ends(), came.cause().0), ([0, 1, 0, 0], "malformed response"));
    assert!(came.cause().1.contains("64 KiB"), "{:?}", came.causes);

    // Nobody there.
    let (_kept, url) = nobody();
    let came = closed(&runs(&url, ""), 2, 4);
    assert_eq!((came.ends(), came.cause().0), ([0, 0, 0, 4], "connection refused"));
}
