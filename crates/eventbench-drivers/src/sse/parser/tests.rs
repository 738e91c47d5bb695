//! The parser against the examples of the standard, hostile streams, and itself with other cuts.

use super::*;
use proptest::prelude::*;

/// Everything that a stream says, in pieces cut at the places given, the tail included where it is asked for.
fn read(stream: &[u8], cuts: &[usize], most: usize, with_tail: bool) -> (Vec<(String, String, String)>, bool) {
    let mut parser = Parser::new(most);
    let mut events = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut each = |e: Event<'_>| events.push((text(e.kind), text(e.data), text(e.id)));
    let mut from = 0;
    let mut whole = true;
    for at in cuts.iter().copied().chain([stream.len()]) {
        let at = at.clamp(from, stream.len());
        whole &= parser.feed(&stream[from..at], &mut each).is_ok();
        from = at;
        assert!(
            parser.memory_bytes() <= 8 * most + 256,
            "{} bytes",
            parser.memory_bytes()
        );
    }
    if with_tail {
        parser.finish(&mut each);
    }
    (events, whole)
}

fn data(stream: &str) -> Vec<String> {
    read(stream.as_bytes(), &[], 1 << 20, false)
        .0
        .into_iter()
        .map(|e| e.1)
        .collect()
}

#[test]
fn the_examples_of_the_standard() {
    assert_eq!(data("data: YHOO\ndata: +2\ndata: 10\n\n"), ["YHOO\n+2\n10"]);
    let stream = ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n";
    let (events, _) = read(stream.as_bytes(), &[], 1 << 20, false);
    let own = |kind: &str, data: &str, id: &str| (kind.to_owned(), data.to_owned(), id.to_owned());
    assert_eq!(events, [own("", "first event", "1"), own("", "second event", "")]);
    assert_eq!(data("data\n\ndata\ndata\n\ndata:"), ["", "\n"]);
    assert_eq!(data("data:test\n\ndata: test\n\n"), ["test", "test"]);
}

#[test]
fn fields_line_ends_and_marks() {
    let (events, _) = read(
        "\u{feff}event: add\rid: a\0b\rdata: 1\r\rid: 7\r\ndata: 2\r\nretry: 2500\r\nwhat: ever\r\n\r\ndata: 3\n\n"
            .as_bytes(),
        &[],
        1 << 20,
        false,
    );
    let own = |kind: &str, data: &str, id: &str| (kind.to_owned(), data.to_owned(), id.to_owned());
    assert_eq!(events, [own("add", "1", ""), own("", "2", "7"), own("", "3", "7")]);
    let mut parser = Parser::new(100);
    parser
        .feed(
            b"retry: 12\nretry: x\nretry: 99999999999999999999\n:\n: beat\n\n",
            |_| panic!("no event"),
        )
        .unwrap();
    assert_eq!(
        (parser.retry_ms(), parser.comments(), parser.saw_return()),
        (Some(12), 2, false)
    );
    parser.feed(b"data: 1\r\n", |_| panic!("no event")).unwrap();
    assert!(parser.saw_return() && parser.has_tail());
    // Half a mark is the beginning of a line; a mark in the middle is data.
    assert_eq!(data("data: \u{feff}x\n\n"), ["\u{feff}x"]);
    let (events, _) = read(b"\xef\xbbdata: x\n\ndata: y\n\n", &[1, 2], 100, false);
    assert_eq!(events.len(), 1);
}

#[test]
fn a_tail_is_given_only_to_those_who_ask() {
    let stream = b"data: 1\n\ndata: 2";
    assert_eq!(read(stream, &[], 100, false).0.len(), 1);
    let (events, _) = read(stream, &[], 100, true);
    assert_eq!(events[1].1, "2");
}

#[test]
fn what_is_too_long_is_refused_and_not_kept() {
    for stream in [
        [b"data: ".as_slice(), &[b'x'; 200]].concat(),
        b"data: xxxxxxxxxxxxxxxxxxxxxxxx\n".repeat(10),
        [b"data: ".as_slice(), &[b'x'; 200], b"\n\n"].concat(),
        [b": ".as_slice(), &[b'x'; 200]].concat(),
    ] {
        for step in [1, 7, 1000] {
            let cuts: Vec<usize> = (1..stream.len()).step_by(step).collect();
            let (events, whole) = read(&[b"data: ok\n\n", stream.as_slice()].concat(), &cuts, 100, true);
            assert_eq!((events.len(), whole), (1, false));
        }
    }
}

proptest! {
    #[test]
    fn a_stream_says_the_same_however_it_is_cut(
        lines in proptest::collection::vec((0usize..12, 0usize..3), 0..40),
        mut cuts in proptest::collection::vec(0usize..400, 0..20),
    ) {
        const LINES: [&str; 12] = [
            "data: a", "data:b: c", "data", "", "", ": beat", "event: x", "id: 1", "retry: 5", "data:  {\"k\":\"é€😀\"}", "datax: 1", "\u{feff}data: m",
        ];
        let mut stream = Vec::new();
        for (line, end) in lines {
            stream.extend_from_slice(LINES[line].as_bytes());
            stream.extend_from_slice(["\n", "\r", "\r\n"][end].as_bytes());
        }
        let whole = read(&stream, &[], 1 << 20, true);
        cuts.sort_unstable();
        prop_assert_eq!(&read(&stream, &cuts, 1 << 20, true), &whole);
        let every: Vec<usize> = (1..stream.len()).collect();
        prop_assert_eq!(&read(&stream, &every, 1 << 20, true), &whole);
    }
}
