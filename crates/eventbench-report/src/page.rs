//! A page of Markdown for GitHub that keeps to a size: what does not fit any more is left out, row by row, and the page
//! says so. Every text that it is given is made harmless.

use crate::markdown::escape;
use crate::text::ascii;
use eventbench_core::judge::Verdict;

/// Longer names and remarks are cut in tables.
const LONGEST_CHARS: usize = 300;
/// Kept free for the sentence that tells of what was left out.
const RESERVE_BYTES: usize = 400;

/// A page under construction.
pub(crate) struct Page {
    out: String,
    most_bytes: usize,
    left_out: Vec<String>,
    ascii: bool,
}

impl Page {
    /// An empty page of at most so many bytes.
    pub fn new(most_bytes: usize, ascii: bool) -> Page {
        Page {
            out: String::new(),
            most_bytes: most_bytes.saturating_sub(RESERVE_BYTES),
            left_out: Vec::new(),
            ascii,
        }
    }

    fn add(&mut self, text: &str) -> bool {
        let shown = if self.ascii {
            let lines: Vec<String> = text.split('\n').map(ascii).collect();
            lines.join("\n")
        } else {
            text.to_owned()
        };
        let fits = self.out.len() + shown.len() <= self.most_bytes;
        if fits {
            self.out.push_str(&shown);
        }
        fits
    }

    /// A paragraph of Markdown whose texts were made harmless by [`safe`].
    pub fn paragraph(&mut self, what: &str, markdown: &str) {
        let gap = if self.out.is_empty() { "" } else { "\n" };
        if !self.add(&format!("{gap}{markdown}\n")) {
            self.left_out.push(what.to_owned());
        }
    }

    /// A table with a title; nothing where there are no rows. Cells are made harmless here.
    pub fn table(&mut self, title: &str, head: &[&str], rows: &[Vec<String>]) {
        if rows.is_empty() {
            return;
        }
        let heading = if title.is_empty() {
            String::new()
        } else {
            format!("\n#### {title}\n")
        };
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let names = line(head.iter().map(|h| (*h).to_owned()).collect());
        let begun = format!("{heading}\n{names}|{}\n", "---|".repeat(head.len()));
        let rows: Vec<String> = rows
            .iter()
            .map(|row| line(row.iter().map(|c| safe(c)).collect()))
            .collect();
        // A head without a row says nothing.
        let fits = rows
            .first()
            .is_some_and(|first| self.out.len() + begun.len() + first.len() <= self.most_bytes);
        let shown = if fits && self.add(&begun) {
            rows.iter().take_while(|row| self.add(row)).count()
        } else {
            0
        };
        if shown < rows.len() {
            let of = if title.is_empty() { "benchmarks" } else { title };
            self.left_out
                .push(format!("{} of {} rows of {of}", rows.len() - shown, rows.len()));
        }
    }

    /// The page, with the sentence that tells of what was left out.
    pub fn finish(mut self, run: &str) -> String {
        if !self.left_out.is_empty() {
            let mut what = self.left_out.join(", ");
            if what.len() > RESERVE_BYTES / 2 {
                what = format!("{} parts of the report", self.left_out.len());
            }
            self.out.push_str(&format!(
                "\n**Cut**: {what} did not fit; `eventbench report {run} -o markdown=report.md` writes everything.\n"
            ));
        }
        self.out
    }
}

/// A text of unknown origin as plain words of GitHub's Markdown: no markup, and nobody is called, nothing linked.
///
/// GitHub looks for mentions, references and addresses in the finished page, where an escaped sign is a sign again; an
/// empty comment within keeps them apart.
pub(crate) fn safe(text: &str) -> String {
    let escaped = escape(&cut(text));
    let mut out = String::with_capacity(escaped.len());
    let mut rest = escaped.as_str();
    while let Some(c) = rest.chars().next() {
        let breaks = [
            ("&#64;", "@"),
            ("@", "@"),
            ("\\#", "\\#"),
            ("://", ":"),
            ("www.", "www"),
        ];
        let found = breaks.iter().find(|(sign, _)| starts_with(rest, sign));
        match found {
            Some((sign, kept)) => {
                out.push_str(kept);
                out.push_str("<!-- -->");
                let behind = if *sign == "://" || *sign == "www." {
                    1.max(kept.len())
                } else {
                    sign.len()
                };
                rest = &rest[behind..];
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out
}

fn starts_with(text: &str, sign: &str) -> bool {
    text.get(..sign.len()).is_some_and(|t| t.eq_ignore_ascii_case(sign))
}

fn cut(text: &str) -> String {
    if text.chars().count() <= LONGEST_CHARS {
        return text.to_owned();
    }
    let kept: String = text.chars().take(LONGEST_CHARS - 1).collect();
    format!("{kept}…")
}

/// The sign before a verdict's word, which is seen before it is read.
pub(crate) fn sign(verdict: Verdict, ascii: bool) -> &'static str {
    match verdict {
        _ if ascii => "",
        Verdict::Pass => "✅ ",
        Verdict::Warn => "⚠️ ",
        Verdict::Fail => "❌ ",
        Verdict::NoData => "❔ ",
        Verdict::Invalid => "🚫 ",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nobody_is_called_and_nothing_is_linked() {
        for (text, shown) in [
            ("p(95) < 10ms", "p(95) < 10ms"),
            ("@everyone", "@<!-- -->everyone"),
            ("a|b`c`", "a\\|b\\`c\\`"),
            ("fixes #12", "fixes \\#<!-- -->12"),
            ("see http://x and WWW.x", "see http:<!-- -->//x and www<!-- -->.x"),
            ("<img src=x>", "&lt;img src=x>"),
            ("two\nlines", "two lines"),
        ] {
            assert_eq!(safe(text), shown);
        }
        assert_eq!(safe(&"x".repeat(5_000)).chars().count(), LONGEST_CHARS);
    }

    proptest! {
        #[test]
        fn no_text_acts(text in "[-<>a-z@#|`*_\\[\\]\\\\\n!/:.&; ]{0,60}") {
            let shown = safe(&text).replace("<!-- -->", "\u{1}");
            prop_assert!(!shown.contains('\n'));
            let bytes = shown.as_bytes();
            for (i, c) in shown.char_indices() {
                let before = shown[..i].bytes().rev().take_while(|b| *b == b'\\').count();
                match c {
                    '@' => prop_assert_eq!(bytes.get(i + 1), Some(&1), "{:?}", shown),
                    '|' | '`' | '*' | '[' | ']' => prop_assert!(before % 2 == 1, "{:?} in {:?}", c, shown),
                    '<' => prop_assert!(bytes.get(i + 1).is_some_and(|b| !b.is_ascii_alphabetic() && !b"/!?".contains(b)), "{:?}", shown),
                    _ => {}
                }
            }
            prop_assert!(!shown.contains("://"));
        }

        #[test]
        fn a_page_keeps_to_its_size_and_says_what_it_lost(rows in 0usize..200, width in 1usize..400, most in 500usize..20_000) {
            let mut page = Page::new(most, false);
            page.paragraph("the verdict", "# PASS");
            let cells: Vec<Vec<String>> = (0..rows).map(|i| vec![i.to_string(), "é".repeat(width)]).collect();
            page.table("Limits", &["n", "text"], &cells);
            page.paragraph("the environment", &"e".repeat(300));
            let text = page.finish("20260101-000000-abcd");
            prop_assert!(text.len() <= most, "{} of {most}", text.len());
            let shown = text.lines().filter(|l| l.starts_with("| ")).count();
            let all = if rows == 0 { 0 } else { rows + 1 };
            prop_assert_eq!(shown < all || !text.contains("eee"), text.contains("**Cut**"));
            for line in text.lines().filter(|l| l.starts_with('|')) {
                prop_assert_eq!(line.matches('|').count(), 3, "{}", line);
            }
        }
    }
}
