//! What every chart is made of: a frame with axes, a legend, and the two ways in which it stands in a page or in a file.

use super::scale::Axis;
use super::writer::{Drawing, escape, px};
use eventbench_core::units::{Unit, digits};

const STYLE: &str = include_str!("chart.css");
/// How wide a character is on average, in pixels: texts are placed before any font is known.
const CHARACTER: f64 = 7.2;

/// A drawn chart.
#[derive(Debug)]
pub(crate) struct Chart {
    /// What it is, as a part of a file's name.
    pub kind: &'static str,
    /// What it shows, in words, for those who do not see it and as the heading of a file.
    pub about: String,
    pub width: f64,
    pub height: f64,
    pub body: String,
    /// What a page says below it and a file must say itself, a line each.
    pub notes: Vec<String>,
}

impl Chart {
    /// As a part of an HTML page, which has the style.
    pub fn inline(&self) -> String {
        format!(
            "<svg class=\"chart {}\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">{}</svg>",
            self.kind,
            px(self.width),
            px(self.height),
            escape(&self.about),
            self.body
        )
    }

    /// As a file of its own, with its heading.
    pub fn standalone(&self, heading: &str) -> Vec<u8> {
        const MARGIN: f64 = 16.0;
        const HEAD: f64 = 54.0;
        const LINE: f64 = 19.0;
        let width = self.width + 2.0 * MARGIN;
        let notes = self.height + HEAD + MARGIN;
        let height = notes + LINE * self.notes.len() as f64;
        let mut d = Drawing::default();
        d.rect("paper", 0.0, 0.0, width, height, None);
        let room = (self.width / (CHARACTER * 1.25)) as usize;
        d.text("heading", MARGIN, 28.0, &cut(heading, room));
        d.text(
            "note",
            MARGIN,
            47.0,
            &cut(&self.about, (self.width / CHARACTER * 1.1) as usize),
        );
        for (i, note) in self.notes.iter().enumerate() {
            let note = cut(note, (self.width / CHARACTER) as usize);
            d.text("note", MARGIN, notes + LINE * i as f64 + 4.0, &note);
        }
        let (width, height) = (px(width), px(height));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart {}\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\"><title>{}</title><style>{STYLE}</style>{}\
             <g transform=\"translate({} {})\">{}</g></svg>\n",
            self.kind,
            escape(&format!("{heading}: {}", self.about)),
            d.finish(),
            px(MARGIN),
            px(HEAD),
            self.body
        )
        .into_bytes()
    }
}

/// The style of all charts, for pages that hold some.
pub(crate) fn style() -> &'static str {
    STYLE
}

/// At most so many characters of a text.
pub(crate) fn cut(text: &str, most: usize) -> String {
    let text = crate::text::printable(text);
    if text.chars().count() <= most.max(2) {
        return text;
    }
    let kept: String = text.chars().take(most.max(2) - 1).collect();
    format!("{}…", kept.trim_end())
}

/// How wide a text is, about.
pub(crate) fn width_of(text: &str) -> f64 {
    text.chars().count() as f64 * CHARACTER
}

/// A value beside a tick.
pub(crate) fn tick_label(unit: Unit, value: f64) -> String {
    match unit {
        _ if value == 0.0 => "0".to_owned(),
        Unit::PerSecond | Unit::Count if value.abs() >= 10_000.0 => {
            let (size, sign) = if value.abs() >= 1e6 { (1e6, "M") } else { (1e3, "k") };
            let per = if unit == Unit::PerSecond { "/s" } else { "" };
            format!("{}{sign}{per}", digits(value / size))
        }
        _ => unit.show(value),
    }
}

/// Seconds beside a tick: as such below two minutes, then minutes, then hours.
pub(crate) fn seconds_label(value: f64, whole: f64) -> String {
    match whole {
        _ if value == 0.0 => "0".to_owned(),
        w if w < 120.0 => format!("{} s", digits(value)),
        w if w < 7_200.0 => format!("{} min", digits(value / 60.0)),
        _ => format!("{} h", digits(value / 3_600.0)),
    }
}

/// An entry of a legend: the class of its line, and its name.
pub(crate) type Entry = (&'static str, String);

/// The part of a drawing that two axes span.
pub(crate) struct Panel {
    pub x: Axis,
    pub y: Axis,
    /// Unit of the vertical axis.
    pub unit: Unit,
    /// How far above it its name stands.
    pub head: f64,
}

/// The usual distance of a panel's name.
pub(crate) const HEAD: f64 = 14.0;

impl Panel {
    /// Draws the name, the legend behind it, grid lines and the labels of both axes.
    pub fn frame(&self, d: &mut Drawing, name: &str, legend: &[Entry], ticks: &[(f64, String)]) {
        let (left, right) = (self.x.low, self.x.high);
        let (top, bottom) = (self.y.high, self.y.low);
        let line = top - self.head;
        d.text("name", 0.0, line, name);
        // Names are bold, and so a little wider.
        let mut x = width_of(name) * 1.1 + 20.0;
        for (class, text) in legend {
            d.line(&format!("curve {class}"), (x, line - 4.0), (x + 18.0, line - 4.0));
            d.text("note", x + 24.0, line, text);
            x += 24.0 + width_of(text) + 18.0;
        }
        let rows = ((bottom - top) / 30.0).clamp(2.0, 6.0) as usize;
        for value in self.y.ticks(rows) {
            let y = self.y.at(value);
            d.line("grid", (left, y), (right, y));
            d.text("tick end", left - 8.0, y + 4.5, &tick_label(self.unit, value));
        }
        d.line("axis", (left, bottom), (right, bottom));
        for (x, text) in ticks {
            d.line("axis", (*x, bottom), (*x, bottom + 4.0));
            d.text("tick mid", *x, bottom + 19.0, text);
        }
    }

    /// Begins the group of lines that a script may read values from: both axes stand beside them.
    pub fn open(&self, d: &mut Drawing, x_unit: &str) {
        let axis = |a: &Axis, unit: &str| {
            let kind = if a.log { "log" } else { "linear" };
            format!("{kind} {} {} {} {} {unit}", a.from, a.to, px(a.low), px(a.high))
        };
        let (x, y) = (axis(&self.x, x_unit), axis(&self.y, self.unit.symbol()));
        d.open("g", &[("class", "panel"), ("data-x", &x), ("data-y", &y)]);
    }
}
