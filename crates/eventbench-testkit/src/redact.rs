//! Redaction: replaces what differs between two runs by placeholders, so that the rest can stand in a snapshot.

/// Replaces run ids, dates, figures with a unit and paths of a text by `[id]`, `[date]`, `[time]`, `[size]`, `[rate]`,
/// `[share]` and `[path]`. Names, counts, verdicts and words stay. Spaces that fill a column after a replaced figure
/// stay too, so redact after the layout only where no table is compared.
pub fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before: Option<char> = None;
    while let Some(c) = rest.chars().next() {
        let starts =
            !before.is_some_and(|b| b.is_alphanumeric() || b == '.' || b == '_' || b == '-' && c.is_ascii_digit());
        let found = if starts {
            RULES
                .iter()
                .find_map(|(name, find)| find(rest).filter(|n| *n > 0).map(|n| (*name, n)))
        } else {
            None
        };
        match found {
            Some((name, length)) => {
                out.push('[');
                out.push_str(name);
                out.push(']');
                before = rest[..length].chars().next_back();
                rest = &rest[length..];
            }
            None => {
                out.push(c);
                before = Some(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out
}

type Rule = (&'static str, fn(&str) -> Option<usize>);

/// What is replaced: by which name, and how many bytes of a text's beginning it takes. The first that fits is taken.
const RULES: &[Rule] = &[
    ("id", |t| shape(t, "99999999-999999-aaaa")),
    ("date", |t| {
        let date = shape(t, "9999-99-99")?;
        let time = [
            "T99:99:99.999Z",
            "T99:99:99Z",
            " 99:99:99 UTC",
            " 99:99:99",
            " 99:99 UTC",
        ];
        Some(date + time.iter().find_map(|s| shape(&t[date..], s)).unwrap_or(0))
    }),
    ("time", |t| quantity(t, &["ns", "µs", "us", "ms", "min", "s", "h"])),
    ("size", |t| {
        quantity(
            t,
            &[
                "kB/h", "MB/h", "GB/h", "B/h", "kB", "MB", "GB", "KiB", "MiB", "GiB", "B",
            ],
        )
    }),
    ("rate", |t| quantity(t, &["/s"])),
    ("share", |t| quantity(t, &["%"])),
    ("path", |t| {
        let end = t
            .find(|c: char| c.is_whitespace() || "\"'`,;:()|".contains(c))
            .unwrap_or(t.len());
        (t.starts_with('/') && t[..end].matches('/').count() > 1).then_some(end)
    }),
];

/// The length of a beginning that has this shape, where 9 is a digit and a a lower-case letter.
fn shape(text: &str, shape: &str) -> Option<usize> {
    let mut chars = text.chars();
    let fits = shape.chars().all(|s| {
        chars.next().is_some_and(|c| match s {
            '9' => c.is_ascii_digit(),
            'a' => c.is_ascii_lowercase() || c.is_ascii_digit(),
            other => c == other,
        })
    });
    fits.then(|| text.len() - chars.as_str().len())
}

/// The length of a number with one of these units, with or without a space between.
fn quantity(text: &str, units: &[&str]) -> Option<usize> {
    let digits = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ','))
        .unwrap_or(text.len());
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let rest = &text[digits..];
    let gap = usize::from(rest.starts_with(' '));
    units.iter().find_map(|unit| {
        let after = rest[gap..].strip_prefix(unit)?;
        (!after.starts_with(|c: char| c.is_alphanumeric() || c == '/')).then_some(digits + gap + unit.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_between_runs_goes_and_the_rest_stays() {
        for (text, expected) in [
            ("run 20251103-142536-kqzv of event-bus", "run [id] of event-bus"),
            ("2025-11-03 14:25:36 UTC, 3.25 s", "[date], [time]"),
            ("at 2025-11-03T14:25:36Z.", "at [date]."),
            ("p(95) 1.23 ms < 10ms, 95%", "p(95) [time] < [time], [share]"),
            ("rss 12.3 MB, slope 50MB/h, 5,123/s", "rss [size], slope [size], [rate]"),
            ("database /srv/a/b.db is locked", "database [path] is locked"),
            (
                "EB-10 lost 12 of 1,000; trial 2 of 3",
                "EB-10 lost 12 of 1,000; trial 2 of 3",
            ),
            ("and/or 3 seconds v2.15.1", "and/or 3 seconds v2.15.1"),
        ] {
            assert_eq!(redact(text), expected);
        }
    }
}
