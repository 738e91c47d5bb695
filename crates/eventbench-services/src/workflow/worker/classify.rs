//! Classification of a file by its content: signatures, then rules for text, and the name only where the content
//! leaves it open.

use serde::de::IgnoredAny;

/// How much of a text the rules look at.
const SNIFFED: usize = 8 * 1_024;
/// Lines that a table or a list of records must have before it is taken for one.
const LINES: usize = 2;

/// Whose word a classification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The content shows it.
    Content,
    /// The content leaves it open, or is not there, and the name's ending says it.
    Name,
}

/// Media types of texts that are plain to a reader of bytes, by the name's ending.
const BY_ENDING: &[(&str, &str)] = &[
    ("c", "text/x-c"),
    ("cfg", "text/x-ini"),
    ("css", "text/css"),
    ("csv", "text/csv"),
    ("go", "text/x-go"),
    ("html", "text/html"),
    ("ini", "text/x-ini"),
    ("java", "text/x-java"),
    ("js", "text/javascript"),
    ("json", "application/json"),
    ("jsonl", "application/x-ndjson"),
    ("log", "text/x-log"),
    ("md", "text/markdown"),
    ("ndjson", "application/x-ndjson"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("py", "text/x-python"),
    ("rs", "text/x-rust"),
    ("sh", "text/x-shellscript"),
    ("sql", "application/sql"),
    ("svg", "image/svg+xml"),
    ("toml", "application/toml"),
    ("ts", "text/typescript"),
    ("tsv", "text/tab-separated-values"),
    ("txt", "text/plain"),
    ("xml", "text/xml"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("zip", "application/zip"),
];

/// The media type of a file whose content is known.
pub(crate) fn of_content(name: &str, content: &str) -> (&'static str, By) {
    if content.is_empty() {
        return ("application/x-empty", By::Content);
    }
    let text = content.trim_start_matches('\u{feff}').trim_start();
    // First, because to the signatures every script is one of the shell's.
    let signed = || infer::get(content.as_bytes()).map(|kind| kind.mime_type());
    if let Some(found) = marked_up(text).or_else(signed).or_else(|| structured(text)) {
        return (found, By::Content);
    }
    if is_binary(text) {
        return ("application/octet-stream", By::Content);
    }
    match of_name(name) {
        Some(found) => (found, By::Name),
        None => ("text/plain", By::Content),
    }
}

/// The media type that a name's ending says.
pub(crate) fn of_name(name: &str) -> Option<&'static str> {
    let (_, ending) = name.rsplit_once('.')?;
    let known = BY_ENDING.iter().find(|(known, _)| known.eq_ignore_ascii_case(ending));
    known.map(|(_, media_type)| *media_type)
}

/// XML and its relatives, and scripts that name their interpreter.
fn marked_up(text: &str) -> Option<&'static str> {
    let begin: String = text.chars().take(64).collect::<String>().to_ascii_lowercase();
    let begins = |word: &str| begin.starts_with(word);
    if begins("<!doctype html") || begins("<html") {
        Some("text/html")
    } else if begins("<svg") {
        Some("image/svg+xml")
    } else if begins("<?xml") {
        Some("text/xml")
    } else if begins("#!") {
        let line = text.lines().next().unwrap_or_default();
        Some(if line.contains("python") {
            "text/x-python"
        } else {
            "text/x-shellscript"
        })
    } else {
        None
    }
}

/// Texts with a grammar: JSON whole or by lines, tables, TOML, YAML, Markdown.
fn structured(text: &str) -> Option<&'static str> {
    if text.starts_with(['{', '[']) && is_json(text) {
        return Some("application/json");
    }
    let sniffed = first(text);
    let lines: Vec<&str> = sniffed.lines().filter(|line| !line.trim().is_empty()).collect();
    // The last of many lines may have been cut.
    let whole = if sniffed.len() < text.len() {
        &lines[..lines.len().saturating_sub(1)]
    } else {
        &lines[..]
    };
    if whole.len() >= LINES && whole.iter().all(|line| line.starts_with('{') && is_json(line)) {
        return Some("application/x-ndjson");
    }
    if is_toml(whole) {
        return Some("application/toml");
    }
    if let Some(rest) = sniffed.strip_prefix("---\n") {
        // Markdown may begin with YAML that ends in such a line too.
        let markdown = rest.contains("\n---\n");
        return Some(if markdown { "text/markdown" } else { "application/yaml" });
    }
    if is_markdown(whole) {
        return Some("text/markdown");
    }
    if is_table(whole, '\t') {
        return Some("text/tab-separated-values");
    }
    is_table(whole, ',').then_some("text/csv")
}

/// The beginning of a text, cut between two characters.
fn first(text: &str) -> &str {
    let mut end = text.len().min(SNIFFED);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn is_toml(lines: &[&str]) -> bool {
    let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    let is_section = |line: &&&str| line.starts_with('[') && line.ends_with(']') && !line.contains(',');
    let is_setting = |line: &&&str| {
        line.split_once('=').is_some_and(|(key, value)| {
            let key = key.trim_end();
            !key.is_empty()
                && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-.\"".contains(c))
                && !value.starts_with('=')
        })
    };
    let sections = lines.iter().filter(is_section).count();
    let settings = lines.iter().filter(is_setting).count();
    let comments = lines.iter().filter(|line| line.starts_with('#')).count();
    sections > 0 && settings > 0 && sections + settings + comments == lines.len()
}

fn is_markdown(lines: &[&str]) -> bool {
    let headings = lines
        .iter()
        .filter(|line| line.trim_start_matches('#').starts_with(' ') && line.starts_with('#'))
        .count();
    let marks = lines
        .iter()
        .any(|line| line.starts_with("```") || line.starts_with("- ") || line.starts_with("* ") || line.contains("]("));
    // A text that begins with one heading and goes on in another way is one; comments of a script come in rows.
    headings > 0 && (marks || (lines.first().is_some_and(|line| line.starts_with("# ")) && headings * 2 <= lines.len()))
}

fn is_table(lines: &[&str], separator: char) -> bool {
    let columns = |line: &str| {
        let mut quoted = false;
        let separators = line.chars().filter(|&c| {
            quoted ^= c == '"';
            c == separator && !quoted
        });
        separators.count()
    };
    let Some(first) = lines.first() else { return false };
    let expected = columns(first);
    lines.len() >= LINES && expected > 0 && lines.iter().all(|line| columns(line) == expected)
}

/// Whether it holds what no text holds.
fn is_binary(text: &str) -> bool {
    let odd = |c: char| c == '\u{fffd}' || (c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{c}' | '\u{1b}'));
    first(text).chars().any(odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides_and_the_name_only_where_it_is_open() {
        let table = [
            ("a", "", "application/x-empty", By::Content),
            ("a.txt", "%PDF-1.7\n", "application/pdf", By::Content),
            ("a.txt", "<!DOCTYPE html><p>", "text/html", By::Content),
            ("a", "  <svg xmlns=\"x\">", "image/svg+xml", By::Content),
            ("a", "#!/usr/bin/env python3\nprint()\n", "text/x-python", By::Content),
            ("a.txt", "{\"a\": [1, 2]}\n", "application/json", By::Content),
            ("a.txt", "\u{feff}[1, 2]", "application/json", By::Content),
            ("a.txt", "{\"a\": 1}\n{\"a\": 2}\n", "application/x-ndjson", By::Content),
            ("a.txt", "{\"a\": 1", "text/plain", By::Name),
            (
                "a",
                "[package]\nname = \"x\"\n# why\nversion = \"1\"\n",
                "application/toml",
                By::Content,
            ),
            ("a", "---\na: 1\nb:\n  - c\n", "application/yaml", By::Content),
            ("a", "---\ntitle: x\n---\n# Title\n", "text/markdown", By::Content),
            ("a", "# Title\n\nSome text.\n\n- a\n- b\n", "text/markdown", By::Content),
            ("a.py", "# a\n# b\n# c\nx = 1\n", "text/x-python", By::Name),
            ("a", "name,age\n\"Ann, B\",7\n", "text/csv", By::Content),
            ("a", "name\tage\nAnn\t7\n", "text/tab-separated-values", By::Content),
            ("a", "Hello, world.\n", "text/plain", By::Content),
            ("a.RS", "fn main() {}\n", "text/x-rust", By::Name),
            ("a.rs", "a\0b", "application/octet-stream", By::Content),
        ];
        for (name, content, expected, by) in table {
            assert_eq!(of_content(name, content), (expected, by), "{name}: {content:?}");
        }
    }

    #[test]
    fn long_content_is_cut_between_characters() {
        let long = format!("a,b\n{}", "é,ü\n".repeat(SNIFFED));
        assert_eq!(of_content("a", &long).0, "text/csv");
        let lines = "{\"a\": \"é\"}\n".repeat(SNIFFED);
        assert_eq!(of_content("a", &lines).0, "application/x-ndjson");
        assert_eq!(of_content("a", &"é".repeat(SNIFFED)).0, "text/plain");
    }

    #[test]
    fn a_name_alone_says_what_its_ending_says() {
        assert_eq!(of_name("a.b.json"), Some("application/json"));
        assert_eq!(of_name("json"), None);
        assert_eq!(of_name("a.unheard"), None);
        assert!(
            BY_ENDING.windows(2).all(|pair| pair[0].0 < pair[1].0),
            "sorted, so none is there twice"
        );
    }
}
