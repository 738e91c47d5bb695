//! Why a text could not be read, and where in it.

/// What is wrong with a text that was to be imported. Whoever has its file puts the name in front.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Something at a line, counted from 1.
    #[error("line {line}: {why}")]
    At {
        /// The line.
        line: u64,
        /// What is wrong there.
        why: String,
    },
    /// Something that no single line is to blame for.
    #[error("{why}")]
    Whole {
        /// What is wrong.
        why: String,
    },
}

impl ImportError {
    pub(crate) fn at(line: u64, why: impl Into<String>) -> Self {
        ImportError::At { line, why: why.into() }
    }

    pub(crate) fn whole(why: impl Into<String>) -> Self {
        ImportError::Whole { why: why.into() }
    }
}

impl From<serde_json::Error> for ImportError {
    fn from(error: serde_json::Error) -> Self {
        let text = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        let why = match text.strip_suffix(&place) {
            Some(why) => format!("{why} (column {})", error.column()),
            None => text,
        };
        match error.line() {
            0 => ImportError::Whole { why },
            line => ImportError::at(line as u64, why),
        }
    }
}

/// The line of a text in which the record lies that a CSV reader has found at a byte. The reader's own count is of no
/// use here: it is one short where lines end in two characters.
pub(crate) fn line_of(text: &str, position: Option<&csv::Position>) -> u64 {
    let byte = position.map_or(0, |p| usize::try_from(p.byte()).unwrap_or(usize::MAX));
    let (before, after) = text.as_bytes().split_at(byte.min(text.len()));
    // The record begins behind what is left of the line end before it, and behind empty lines.
    let skipped = after.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    let before = &text.as_bytes()[..before.len() + skipped];
    let ends = before
        .iter()
        .enumerate()
        .filter(|(i, b)| **b == b'\n' || (**b == b'\r' && before.get(i + 1) != Some(&b'\n')));
    ends.count() as u64 + 1
}

/// What a CSV reader has to complain of a text.
pub(crate) fn of_csv(text: &str, error: &csv::Error) -> ImportError {
    let why = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("a row of {len} cells in a table of {expected_len} columns")
        }
        _ => error.to_string(),
    };
    match error.position() {
        Some(position) => ImportError::at(line_of(text, Some(position)), why),
        None => ImportError::Whole { why },
    }
}
