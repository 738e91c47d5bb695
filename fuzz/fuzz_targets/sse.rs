//! The parser of event streams: whatever a server sends, however it is cut into pieces, the parser neither panics nor
//! keeps more than it may, and gives the same events as when the bytes come all at once.
//!
//! The first two bytes of an input say how it is cut; the rest is what the server sends.
#![no_main]

use libfuzzer_sys::fuzz_target;

// The parser itself, not its crate: TLS and database drivers would take minutes to build and are not what is fuzzed.
// (Formatted where it belongs: from here its tests are not found.)
#[rustfmt::skip]
#[allow(dead_code, reason = "the driver uses more of it")]
#[path = "../../crates/eventbench-drivers/src/sse/parser.rs"]
mod parser;

use parser::{Event, Parser};

const MOST_BYTES: usize = 512;

fuzz_target!(|bytes: &[u8]| {
    let [cut, step, stream @ ..] = bytes else { return };
    let (first, rest) = (usize::from(*cut) + 1, usize::from(*step) + 1);
    let whole = read(stream, usize::MAX, usize::MAX);
    assert_eq!(
        whole,
        read(stream, first, rest),
        "cut into pieces the same bytes mean something else"
    );
    assert_eq!(
        whole,
        read(stream, 1, 1),
        "byte by byte the same bytes mean something else"
    );
});

/// Everything that the parser says of a stream, its tail and what else it noticed included.
fn read(mut stream: &[u8], first: usize, rest: usize) -> Vec<String> {
    let mut parser = Parser::new(MOST_BYTES);
    let mut said = Vec::new();
    let mut say = |e: Event<'_>| {
        assert!(e.data.len() <= MOST_BYTES && e.kind.len() <= MOST_BYTES && e.id.len() <= MOST_BYTES);
        assert!(!e.data.contains(&b'\r') && !e.id.contains(&0));
        said.push(format!(
            "{} {} {}",
            e.kind.escape_ascii(),
            e.data.escape_ascii(),
            e.id.escape_ascii()
        ));
    };
    let mut piece = first;
    let mut broken = false;
    while !stream.is_empty() && !broken {
        let (bytes, more) = stream.split_at(piece.min(stream.len()));
        broken = parser.feed(bytes, &mut say).is_err();
        assert!(parser.memory_bytes() <= 16 * MOST_BYTES);
        stream = more;
        piece = rest;
    }
    if broken {
        assert!(parser.feed(b"data: x\n\n", &mut say).is_err(), "too long is final");
    }
    let tail = parser.has_tail();
    parser.finish(&mut say);
    said.push(format!("broken {broken}"));
    if !broken {
        let (retry, comments, returns) = (parser.retry_ms(), parser.comments(), parser.saw_return());
        said.push(format!(
            "tail {tail} retry {retry:?} comments {comments} returns {returns}"
        ));
    }
    said
}
