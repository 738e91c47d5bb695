//! The NATS wire parser: whatever a server sends, however it is cut into pieces, the parser neither panics nor grows
//! beyond its limit, and gives the same operations as when the bytes come all at once.
//!
//! The first two bytes of an input say how it is cut; the rest is what the server sends.
#![no_main]

use libfuzzer_sys::fuzz_target;

// The parser itself, not its crate: TLS and database drivers would take minutes to build and are not what is fuzzed.
// (Formatted where it belongs: from here its tests are not found.)
#[rustfmt::skip]
#[allow(dead_code, reason = "the connection uses more of it")]
#[path = "../../crates/eventbench-drivers/src/wire/parse.rs"]
mod parse;

use parse::Parser;

const MAX_PAYLOAD_BYTES: u64 = 64 * 1024;
const BACKLOG_BYTES: usize = 128 * 1024;

fuzz_target!(|bytes: &[u8]| {
    let [cut, step, stream @ ..] = bytes else { return };
    let (first, rest) = (usize::from(*cut) + 1, usize::from(*step) + 1);
    let whole = read(stream, usize::MAX, usize::MAX);
    let pieces = read(stream, first, rest);
    assert_eq!(whole, pieces, "cut into pieces the same bytes mean something else");
});

/// Everything that the parser says of a stream which comes in a first piece and further ones, the error that ends it
/// included.
fn read(mut stream: &[u8], first: usize, rest: usize) -> Vec<String> {
    let mut parser = Parser::new(MAX_PAYLOAD_BYTES, BACKLOG_BYTES);
    let mut said = Vec::new();
    let mut piece = first;
    while !stream.is_empty() {
        let space = parser.space();
        let n = piece.min(stream.len()).min(space.len());
        assert!(n > 0, "operations are taken at once, so there is always space");
        space[..n].copy_from_slice(&stream[..n]);
        parser.filled(n);
        stream = &stream[n..];
        piece = rest;
        loop {
            let has_op = parser.has_op();
            match parser.next_op() {
                None => {
                    assert!(!has_op);
                    break;
                }
                Some(Err(error)) => {
                    assert!(has_op && !error.to_string().is_empty());
                    assert_eq!(
                        parser.next_op().and_then(Result::err).as_ref(),
                        Some(&error),
                        "an error is final"
                    );
                    // Which error it is may depend on the cut, as it quotes the bytes that were there.
                    said.push("error".to_owned());
                    return said;
                }
                Some(Ok(op)) => {
                    assert!(has_op);
                    if let parse::Op::Msg(message) = &op {
                        let _ = (message.status(), message.status_text(), message.header("Nats-Msg-Id"));
                        assert!(message.header_lines().count() <= message.headers.map_or(0, <[u8]>::len));
                    }
                    said.push(format!("{op:?}"));
                }
            }
        }
        assert!(parser.memory_bytes() <= parser.memory_limit_bytes());
    }
    said
}
