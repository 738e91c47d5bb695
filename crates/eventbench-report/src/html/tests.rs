//! What holds for the page.

use super::*;
use eventbench_core::record::Mark;
use eventbench_testkit::golden;
use roxmltree::{Document as Xml, Node, ParsingOptions};
use std::collections::{BTreeMap, BTreeSet};

fn page(record: &RunRecord) -> String {
    String::from_utf8(render(record, &RenderOptions::default()).unwrap()).unwrap()
}

/// The page without the script, whose text alone is no XML; everything else must be.
fn parsed<'a>(name: &str, page: &'a str) -> Xml<'a> {
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    Xml::parse_with_options(page, options).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn without_script(page: &str) -> String {
    let (before, rest) = page.split_once("<script>").unwrap();
    let (script, after) = rest.split_once("</script>").unwrap();
    assert_eq!(script, SCRIPT);
    assert!(!after.contains("<script"), "one script and no other");
    format!("{before}<script></script>{after}")
}

fn texts(node: Node<'_, '_>) -> String {
    node.descendants()
        .filter_map(|n| n.text().filter(|_| n.is_text()))
        .collect()
}

#[test]
fn every_golden_record_is_a_page_in_good_shape() {
    for (name, record) in golden::records() {
        let page = page(&record);
        assert!(page.starts_with("<!DOCTYPE html>\n"), "{name}");
        let xml = without_script(&page);
        let document = parsed(name, &xml);
        let ids: Vec<&str> = document.descendants().filter_map(|n| n.attribute("id")).collect();
        let distinct: BTreeSet<&&str> = ids.iter().collect();
        assert_eq!(ids.len(), distinct.len(), "{name}: {ids:?}");
        for node in document.descendants().filter(Node::is_element) {
            for attribute in node.attributes() {
                let (key, value) = (attribute.name(), attribute.value());
                assert!(!key.starts_with("on") && key != "style", "{name}: {key} of {node:?}");
                if key == "href" {
                    let inside = value.strip_prefix('#').is_some_and(|id| ids.contains(&id));
                    assert!(inside || value == "data:,", "{name}: a link to {value}");
                }
                assert!(key != "src" && key != "action", "{name}: {key} of {node:?}");
            }
            let tag = node.tag_name().name();
            assert!(
                !["img", "iframe", "object", "embed", "form", "base", "foreignObject"].contains(&tag),
                "{name}: {tag}"
            );
            if tag == "tr" {
                let cells = node.children().filter(Node::is_element).count();
                let table = node.ancestors().find(|n| n.has_tag_name("table")).unwrap();
                let first = table.descendants().find(|n| n.has_tag_name("tr")).unwrap();
                let expected = first.children().filter(Node::is_element).count();
                assert_eq!(cells, expected, "{name}: a row of {}", texts(node));
            }
        }
        let verdict = document
            .descendants()
            .find(|n| n.attribute("class") == Some("word"))
            .unwrap();
        assert_eq!(verdict.text(), Some(record.verdict().word()), "{name}");
        let sections = document
            .descendants()
            .filter(|n| n.attribute("class") == Some("benchmark"));
        assert_eq!(sections.count(), record.benchmarks.len(), "{name}");
    }
}

#[test]
fn the_policy_names_the_one_style_and_the_one_script() {
    let page = page(&golden::all_pass());
    let (_, rest) = page.split_once("<style>").unwrap();
    let (style, _) = rest.split_once("</style>").unwrap();
    assert_eq!(page.matches("<style").count(), 1);
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    for source in [
        "default-src 'none'".to_owned(),
        format!("style-src 'sha256-{}'", hash(style)),
        format!("script-src 'sha256-{}'", hash(SCRIPT)),
    ] {
        assert!(page.contains(&source), "{source}");
    }
    for loose in ["unsafe", "http:", "https:", "*"] {
        let (_, policy) = page.split_once("Content-Security-Policy\" content=\"").unwrap();
        assert!(!policy.split_once('"').unwrap().0.contains(loose), "{loose}");
    }
}

#[test]
fn nothing_of_a_hostile_record_acts() {
    let record = golden::hostile();
    let page = page(&record);
    let acts = page
        .chars()
        .find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
    assert_eq!(acts, None);
    let xml = without_script(&page);
    let document = parsed("hostile", &xml);
    // Only elements that the template and the charts write; a name that got through would be another one.
    let known = BTreeSet::from([
        "html",
        "head",
        "meta",
        "link",
        "title",
        "style",
        "body",
        "nav",
        "ol",
        "ul",
        "li",
        "a",
        "span",
        "main",
        "header",
        "h1",
        "h2",
        "h3",
        "p",
        "div",
        "section",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "figure",
        "figcaption",
        "svg",
        "g",
        "path",
        "rect",
        "circle",
        "text",
        "strong",
        "code",
        "pre",
        "dl",
        "dt",
        "dd",
        "details",
        "summary",
        "footer",
        "script",
    ]);
    for node in document.descendants().filter(Node::is_element) {
        assert!(known.contains(node.tag_name().name()), "{node:?}");
    }
    assert_eq!(document.descendants().filter(|n| n.has_tag_name("script")).count(), 1);
    let shown = texts(document.root());
    for text in [
        "<script>alert('x')</script>",
        "<svg onload=1>",
        "window.hostile = 1",
        "\\u{1b}",
    ] {
        assert!(shown.contains(text), "{text} is not shown");
    }
}

/// The texts of the cells of a benchmark's row in the overview.
fn overview(page: &str, number: usize) -> Vec<String> {
    let xml = without_script(page);
    let document = parsed("overview", &xml);
    let link = format!("#b{number}");
    let table = document
        .descendants()
        .find(|n| n.attribute("class") == Some("sortable overview"))
        .unwrap();
    let row = table
        .descendants()
        .filter(|n| n.has_tag_name("tr"))
        .find(|r| r.descendants().any(|n| n.attribute("href") == Some(&link)))
        .unwrap();
    row.children().filter(Node::is_element).map(texts).collect()
}

#[test]
fn a_limit_that_fails_is_told_first_and_everywhere() {
    let mut record = golden::all_pass();
    assert!(!page(&record).contains("What does not hold"));
    let limit = &mut record.benchmarks[1].limits[0];
    limit.outcome = Verdict::Fail;
    limit.counts_as = Verdict::Fail;
    limit.value = Some(12_345_000.0);
    record.benchmarks[1].verdict = Verdict::Fail;
    let page = page(&record);
    assert_eq!(overview(&page, 2)[1], "FAIL");
    let (head, rest) = page.split_once("</header>").unwrap();
    for text in [
        "What does not hold",
        ">FAIL<",
        "request-reply-latency",
        "mean &lt; 10ms",
        "12.3 ms",
    ] {
        assert!(head.contains(text), "{text}");
    }
    assert!(rest.contains("12.3 ms") && rest.contains("fail-fill"));
}

#[test]
fn a_run_that_cannot_be_trusted_says_why_before_anything_else() {
    let page = page(&golden::invalid());
    let (head, _) = page.split_once("</header>").unwrap();
    assert!(head.contains("pacer on time") && head.contains("does not hold: lateness p(99) 46.4 ms, allowed 20 ms"));
}

#[test]
fn a_mark_a_cause_a_hop_and_a_grade_stand_in_the_page() {
    let mut record = golden::hops();
    for text in [
        "stop tree",
        "status 503",
        "database is locked",
        "call metadata",
        ">grade A<",
        "A &lt; 1 ms, B &lt; 2 ms",
    ] {
        assert!(page(&record).contains(text), "{text}");
    }
    record.benchmarks[0].trials[0].marks.push(Mark {
        at_s: 9.0,
        what: "pause reducer".to_owned(),
    });
    let with = page(&record);
    // In the chart, where its flag says it, and in the list below.
    assert_eq!(with.matches("9 s: pause reducer").count(), 2);
}

#[test]
fn the_figures_are_those_of_the_other_reports() {
    let record = golden::all_pass();
    let (page, view) = (page(&record), View::of(&record));
    for row in &view.rows {
        let cells = overview(&page, row.number);
        let t = &row.times[0];
        assert_eq!(
            cells[2..],
            [&t.mean, &t.med, &t.p95, &t.p99, &t.max, &row.lost, &row.rate].map(String::clone)
        );
    }
}

#[test]
fn overview_cells_carry_the_number_they_are_sorted_by() {
    let record = golden::all_pass();
    let page = page(&record);
    let xml = without_script(&page);
    let document = parsed("sorted", &xml);
    let heads: BTreeMap<usize, &str> = document
        .descendants()
        .find(|n| n.attribute("class") == Some("sortable overview"))
        .unwrap()
        .descendants()
        .filter(|n| n.has_tag_name("th") && n.attribute("data-sort").is_some())
        .enumerate()
        .map(|(i, n)| (i, n.attribute("data-sort").unwrap()))
        .collect();
    assert_eq!(heads.len(), 9);
    let mean = record.benchmarks[0]
        .figure("response_time", &[], "mean")
        .unwrap()
        .value
        .unwrap();
    assert!(page.contains(&format!("data-value=\"{mean}\"")), "{mean}");
}

#[test]
fn an_hour_of_twenty_benchmarks_is_less_than_three_megabytes() {
    let bytes = page(&golden::one_hour()).len();
    assert!(bytes < 3_000_000, "{bytes} bytes");
}

#[test]
fn a_hundred_thousand_intervals_keep_their_extreme() {
    let record = golden::many_intervals();
    let page = page(&record);
    assert!(page.len() < 500_000, "{} bytes", page.len());
    assert!(page.contains(">10 s<"), "the axis does not reach the longest time");
}
