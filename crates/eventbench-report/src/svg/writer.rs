//! Markup of charts: elements, attributes and texts, each escaped where it is written.

use crate::text::printable;
use std::fmt::Write as _;

/// A text of unknown origin inside an element or a quoted attribute, of XML and of HTML alike: what acts or hides is a
/// visible escape, what would be markup an entity.
pub(crate) fn escape(text: &str) -> String {
    let text = printable(text);
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // No characters at all for XML.
            '\u{fffe}' | '\u{ffff}' => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// A coordinate to a tenth of a pixel, without a needless zero; what is no number is 0.
pub(crate) fn px(value: f64) -> String {
    let tenths = if value.is_finite() {
        (value * 10.0).round() as i64
    } else {
        0
    };
    tenth(tenths)
}

fn tenth(tenths: i64) -> String {
    let (sign, size) = (if tenths < 0 { "-" } else { "" }, tenths.unsigned_abs());
    match (size / 10, size % 10) {
        (whole, 0) => format!("{sign}{whole}"),
        (0, part) => format!("{sign}.{part}"),
        (whole, part) => format!("{sign}{whole}.{part}"),
    }
}

/// A drawing under construction.
#[derive(Debug, Default)]
pub(crate) struct Drawing {
    out: String,
}

impl Drawing {
    /// The markup.
    pub fn finish(self) -> String {
        self.out
    }

    fn start(&mut self, name: &str, attributes: &[(&str, &str)]) {
        let _ = write!(self.out, "<{name}");
        for (key, value) in attributes {
            let _ = write!(self.out, " {key}=\"{}\"", escape(value));
        }
    }

    /// An element that others stand in, until [`Drawing::close`].
    pub fn open(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.start(name, attributes);
        self.out.push('>');
    }

    /// Ends an element.
    pub fn close(&mut self, name: &str) {
        let _ = write!(self.out, "</{name}>");
    }

    /// An element without content.
    pub fn empty(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.start(name, attributes);
        self.out.push_str("/>");
    }

    /// An element with what a pointer that rests on it is told.
    pub fn titled(&mut self, name: &str, attributes: &[(&str, &str)], title: &str) {
        self.open(name, attributes);
        let _ = write!(self.out, "<title>{}</title></{name}>", escape(title));
    }

    /// A text at a place; the class says how it is aligned.
    pub fn text(&mut self, class: &str, x: f64, y: f64, text: &str) {
        self.open("text", &[("class", class), ("x", &px(x)), ("y", &px(y))]);
        self.out.push_str(&escape(text));
        self.close("text");
    }

    /// A straight line.
    pub fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let d = format!("M{} {}L{} {}", px(from.0), px(from.1), px(to.0), px(to.1));
        self.empty("path", &[("class", class), ("d", &d)]);
    }

    /// A rectangle.
    pub fn rect(&mut self, class: &str, x: f64, y: f64, width: f64, height: f64, title: Option<&str>) {
        let (x, y, width, height) = (px(x), px(y), px(width.max(0.0)), px(height.max(0.0)));
        let attributes = [
            ("class", class),
            ("x", &x),
            ("y", &y),
            ("width", &width),
            ("height", &height),
        ];
        match title {
            Some(title) => self.titled("rect", &attributes, title),
            None => self.empty("rect", &attributes),
        }
    }

    /// A line through points, broken where there is none.
    pub fn curve(&mut self, class: &str, name: &str, points: impl IntoIterator<Item = Option<(f64, f64)>>) {
        let d = steps(points);
        if !d.is_empty() {
            self.empty("path", &[("class", class), ("data-name", name), ("d", &d)]);
        }
    }

    /// The area between a line and the same line read backwards.
    pub fn area(&mut self, class: &str, points: impl IntoIterator<Item = (f64, f64)>) {
        let d = steps(points.into_iter().map(Some));
        if !d.is_empty() {
            self.empty("path", &[("class", class), ("d", &(d + "z"))]);
        }
    }
}

/// The shortest path data for points: one absolute move, then moves and lines relative to the place before. Each place is
/// rounded by itself, so that roundings do not add up.
fn steps(points: impl IntoIterator<Item = Option<(f64, f64)>>) -> String {
    let mut out = String::new();
    let mut pen: Option<(i64, i64)> = None;
    let (mut lifted, mut alone, mut command) = (true, false, ' ');
    for point in points {
        let Some((x, y)) = point.filter(|p| p.0.is_finite() && p.1.is_finite()) else {
            // A single point is a line of no length, which round ends make a dot.
            if alone {
                out.push_str("h0");
                command = ' ';
            }
            (lifted, alone) = (true, false);
            continue;
        };
        let place = ((x * 10.0).round() as i64, (y * 10.0).round() as i64);
        let (next, step) = match pen {
            None => ('M', place),
            Some(from) => (if lifted { 'm' } else { 'l' }, (place.0 - from.0, place.1 - from.1)),
        };
        let (dx, dy) = (tenth(step.0), tenth(step.1));
        if next != command || next == 'm' {
            out.push(next);
        } else if !dx.starts_with('-') {
            out.push(' ');
        }
        out.push_str(&dx);
        if !dy.starts_with('-') {
            out.push(' ');
        }
        out.push_str(&dy);
        command = next;
        alone = lifted;
        lifted = false;
        pen = Some(place);
    }
    if alone {
        out.push_str("h0");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn places_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (12.04, "12"),
            (-0.31, "-.3"),
            (7.25, "7.3"),
            (f64::NAN, "0"),
        ] {
            assert_eq!(px(value), text);
        }
    }

    #[test]
    fn a_line_is_broken_where_there_is_nothing() {
        let points = [Some((1.0, 2.0)), Some((3.0, 1.5)), None, Some((5.0, 5.0)), None];
        assert_eq!(steps(points), "M1 2l2-.5m2 3.5h0");
        assert_eq!(steps([None]), "");
    }

    /// The places that path data of this writer goes through.
    fn read(d: &str) -> Vec<(f64, f64)> {
        let spaced: String = d
            .chars()
            .flat_map(|c| match c {
                'M' | 'm' | 'l' => vec![' ', c, ' '],
                '-' => vec![' ', c],
                c => vec![c],
            })
            .collect();
        let (mut places, mut numbers, mut at) = (Vec::new(), Vec::new(), (0.0, 0.0));
        for word in spaced.replace("h0", "").split_whitespace() {
            if let Ok(n) = word.parse::<f64>() {
                numbers.push(n);
                if let [dx, dy] = numbers[..] {
                    at = (at.0 + dx, at.1 + dy);
                    places.push(at);
                    numbers.clear();
                }
            }
        }
        places
    }

    proptest! {
        #[test]
        fn rounding_never_adds_up(points in proptest::collection::vec((0.0..1000.0f64, -50.0..300.0f64), 1..300)) {
            let read = read(&steps(points.iter().copied().map(Some)));
            prop_assert_eq!(read.len(), points.len());
            for (a, b) in read.iter().zip(&points) {
                prop_assert!((a.0 - b.0).abs() < 0.051 && (a.1 - b.1).abs() < 0.051, "{:?} for {:?}", a, b);
            }
        }

        #[test]
        fn no_text_is_markup(text in any::<String>()) {
            let mut drawing = Drawing::default();
            drawing.text(&text, 1.0, 2.0, &text);
            drawing.titled("rect", &[("class", &text)], &text);
            let markup = format!("<svg>{}</svg>", drawing.finish());
            let document = roxmltree::Document::parse(&markup).map_err(|e| TestCaseError::fail(e.to_string()))?;
            let first = document.root_element().first_element_child().unwrap();
            prop_assert_eq!(document.descendants().filter(|n| n.is_element()).count(), 4);
            let shown = printable(&text).replace('\u{fffe}', "\\u{fffe}").replace('\u{ffff}', "\\u{ffff}");
            prop_assert_eq!(first.text().unwrap_or_default(), shown);
        }
    }
}
