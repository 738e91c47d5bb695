//! The end of a log file, made fit to be quoted in an error message.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// What is read back of a log at most, whatever its size.
const MOST_BYTES: u64 = 64 * 1024;
/// Where a line is cut.
const MOST_CHARS: usize = 400;

/// The last `lines` lines written to `path` after the byte `start`, at most 64 KiB of them, each cleaned by
/// [`printable`].
pub(super) fn tail(path: &Path, start: u64, lines: usize) -> io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let end = file.metadata()?.len();
    let from = end.saturating_sub(MOST_BYTES).max(start.min(end));
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut found: Vec<String> = text
        .lines()
        .rev()
        .map(printable)
        .filter(|l| !l.is_empty())
        .take(lines)
        .collect();
    found.reverse();
    Ok(found)
}

/// `line` without terminal control sequences and control characters, cut at 400 characters: what a process has
/// written must not steer the terminal that an error is shown on.
pub(super) fn printable(line: &str) -> String {
    let mut out = String::new();
    let mut count = 0;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            skip_escape(&mut chars);
            continue;
        }
        // Direction marks could make a line read otherwise than it was written.
        let hidden =
            matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        let c = if c == '\t' { ' ' } else { c };
        if c.is_control() || hidden {
            continue;
        }
        if count == MOST_CHARS {
            out.push('…');
            break;
        }
        out.push(c);
        count += 1;
    }
    out.trim_end().to_owned()
}

/// Skips what follows an ESC: a CSI sequence up to its final byte, an OSC string up to BEL or ST, else one character.
fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.next() {
        Some('[') => {
            for c in chars.by_ref() {
                if ('\u{40}'..='\u{7e}').contains(&c) {
                    break;
                }
            }
        }
        Some(']' | 'P' | '_' | '^') => {
            while let Some(c) = chars.next() {
                if c == '\u{7}' {
                    break;
                }
                if c == '\u{1b}' {
                    chars.next_if_eq(&'\\');
                    break;
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn only_the_last_lines_after_the_start_are_given() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "old").unwrap();
        let start = file.as_file().metadata().unwrap().len();
        assert_eq!(tail(file.path(), start, 3).unwrap(), Vec::<String>::new());
        write!(file, "one\ntwo\n\nthree\nfour").unwrap();
        assert_eq!(tail(file.path(), start, 3).unwrap(), ["two", "three", "four"]);
        assert_eq!(tail(file.path(), start, 9).unwrap(), ["one", "two", "three", "four"]);
        assert_eq!(tail(file.path(), 9_999, 9).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_huge_log_is_read_from_its_end_only() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for k in 0..200_000 {
            writeln!(file, "line {k}").unwrap();
        }
        let all = tail(file.path(), 0, usize::MAX).unwrap();
        assert_eq!(all.last().unwrap(), "line 199999");
        assert!(all.len() < 6_000, "{}", all.len());
    }

    #[test]
    fn escapes_and_controls_do_not_get_through() {
        assert_eq!(printable("\u{1b}[31;1mred\u{1b}[0m \u{7}bell\u{8}"), "red bell");
        assert_eq!(printable("\u{1b}]0;title\u{7}a\u{1b}]8;;http://x\u{1b}\\b"), "ab");
        assert_eq!(printable("a\u{202e}b\u{9b}31mc\td\r"), "ab31mc d");
        assert_eq!(printable("\u{1b}["), "");
        assert_eq!(printable("\u{1b}"), "");
        assert_eq!(printable(&"é".repeat(1000)).chars().count(), 401);
    }

    proptest::proptest! {
        #[test]
        fn any_line_comes_out_bounded_and_without_controls(line in ".*") {
            let out = printable(&line);
            proptest::prop_assert!(out.chars().count() <= MOST_CHARS + 1);
            proptest::prop_assert!(!out.chars().any(char::is_control));
        }
    }
}
