//! HTTP/1.1 responses: whatever a server sends, however it is cut into pieces, head and body are found as they are when
//! the bytes come all at once, and nothing panics.
//!
//! The first two bytes of an input say how it is cut; the rest is what the server sends.
#![no_main]

use libfuzzer_sys::fuzz_target;

// The readers themselves, not their crate: TLS and database drivers would take minutes to build and are not what is
// fuzzed. (Formatted where they belong: from here their tests are not found.)
#[rustfmt::skip]
#[allow(dead_code, reason = "the driver uses more of it")]
#[path = "../../crates/eventbench-drivers/src/http/head.rs"]
mod head;
#[rustfmt::skip]
#[allow(dead_code, reason = "the driver uses more of it")]
#[path = "../../crates/eventbench-drivers/src/http/body.rs"]
mod body;

use body::Body;
use head::Found;

fuzz_target!(|bytes: &[u8]| {
    let [cut, step, stream @ ..] = bytes else { return };
    let (first, rest) = (usize::from(*cut) + 1, usize::from(*step) + 1);
    let whole = read(stream, usize::MAX, usize::MAX);
    assert_eq!(
        whole,
        read(stream, first, rest),
        "cut into pieces the same bytes mean something else"
    );
});

/// Everything that is found in a stream of bytes: its head, its body, and what is left behind it.
fn read(mut stream: &[u8], first: usize, rest: usize) -> String {
    let mut part = Vec::new();
    let mut state: Option<(String, Body, Vec<u8>)> = None;
    let mut behind = 0;
    let mut piece = first;
    while !stream.is_empty() {
        let (bytes, more) = stream.split_at(piece.min(stream.len()));
        stream = more;
        piece = rest;
        let mut bytes = bytes;
        if state.is_none() {
            part.extend_from_slice(bytes);
            let len = match head::read(&part) {
                // Which fault is found first may depend on the cut.
                Err(_) => return "no head".to_owned(),
                Ok(Found::Part) => continue,
                Ok(Found::Whole(head, len)) => {
                    assert!(len <= head::MOST_BYTES && len <= part.len());
                    state = Some((format!("{head:?}"), Body::new(head.framing), Vec::new()));
                    len
                }
            };
            bytes = &bytes[bytes.len() - (part.len() - len)..];
        }
        let Some((head, body, out)) = &mut state else { continue };
        loop {
            match body.next(&mut bytes) {
                Ok(Some(data)) => {
                    assert!(!data.is_empty());
                    out.extend_from_slice(data);
                }
                Ok(None) => break,
                Err(e) => return format!("{head} {} {e}", out.escape_ascii()),
            }
        }
        assert!(bytes.is_empty() || body.is_done());
        behind += bytes.len();
    }
    match state {
        None => "part".to_owned(),
        Some((head, body, out)) => {
            let ends = (body.is_done(), body.ends_with_connection());
            format!("{head} {} {ends:?} {behind}", out.escape_ascii())
        }
    }
}
