//! The id of a run that has none of its own: made of what it holds, so that the same run imported again is known.

use super::instant::stamp;
use eventbench_core::record::RunRecord;

/// Letters behind the date; 26^10 are enough that two runs of one second do not meet.
const LETTERS: usize = 10;

/// Gives a record its id by its content: the notes, which name the file, and the instant, where `dated` says that the
/// file does not know it, make no difference.
pub(crate) fn identify(record: &mut RunRecord, dated: bool) {
    let mut bare = record.clone();
    bare.run.id.clear();
    bare.run.notes.clear();
    let prefix = if dated {
        stamp(record.run.started_unix_ms)
    } else {
        bare.run.started_unix_ms = 0;
        bare.run.suite.clone()
    };
    // A record of numbers, texts and lists can always be written; were it not, the id would be the same for all.
    let bytes = serde_json::to_vec(&bare).unwrap_or_default();
    record.run.id = format!("{}-{}", plain(&prefix), letters(fnv1a(&bytes)));
}

/// Whether a text can be a run's id: what is typed in a shell and names a file.
pub(crate) fn valid(id: &str) -> bool {
    (1..=80).contains(&id.len())
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn plain(text: &str) -> String {
    let plain: String = text
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .take(40)
        .collect();
    if valid(&plain) { plain } else { "import".to_owned() }
}

/// FNV-1a with 64 bits (Fowler, Noll, Vo): short and the same everywhere; nobody gains by a collision here.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

fn letters(mut hash: u64) -> String {
    let mut out = String::with_capacity(LETTERS);
    for _ in 0..LETTERS {
        out.push(char::from(b'a' + (hash % 26) as u8));
        hash /= 26;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn ids_are_what_a_shell_takes() {
        assert!(valid("20251103-142536-kqzv"));
        for id in ["", "-x", "a b", "a/b", "é", ".", &"a".repeat(81)] {
            assert!(!valid(id), "{id}");
        }
        assert_eq!(plain("../;rm"), "rm");
        assert_eq!(plain("…"), "import");
    }
}
