//! Changes to suite files: what they do to the text, and how they are refused.
#![allow(clippy::unwrap_used, reason = "tests end when their premises do not hold")]

use super::*;

fn set(text: &str) -> Setting {
    text.parse().unwrap()
}

fn changed(text: &str, settings: &[&str]) -> Result<String, String> {
    let source = Source {
        name: "s.toml".to_owned(),
        text: text.to_owned(),
    };
    let settings: Vec<Setting> = settings.iter().map(|s| set(s)).collect();
    applied(&source, &settings)
        .map(|s| s.text)
        .map_err(|f| f.report.to_string())
}

const SUITE: &str = r#"# A comment that stays.
[suite]
name = "s" # and this one

[service.store]
run = ["{self}", "service"] # words

[[benchmark]]
name = "one"
trials = 3
load = { arrival = "constant", rate = "100/s", duration = "1s" }
observe = [{ driver = "nats", subject = "a" }]
profile.quick = { duration = "300ms" }

[[benchmark]]
name = "two.parts"
[benchmark.load]
rate = "5/s"
"#;

#[test]
fn a_value_is_what_toml_reads_else_text() {
    for (setting, before, after) in [
        ("suite.name=other", "name = \"s\" #", "name = \"other\" #"),
        ("suite.name='x y'", "name = \"s\" #", "name = 'x y' #"),
        ("benchmark.one.load.rate=200/s", "\"100/s\"", "\"200/s\""),
        ("benchmark.one.trials=7", "trials = 3", "trials = 7"),
        (
            "benchmark.one.observe.0.subject=b",
            "subject = \"a\"",
            "subject = \"b\"",
        ),
        ("benchmark.\"two.parts\".load.rate=6/s", "\"5/s\"", "\"6/s\""),
        ("benchmark.1.load.rate=6/s", "\"5/s\"", "\"6/s\""),
        (
            "service.store.run=prog 'with space' --x",
            r#"["{self}", "service"] #"#,
            r#"["prog", "with space", "--x"] #"#,
        ),
        (r#"service.store.run=["a"]"#, r#"["{self}", "service"] #"#, r#"["a"] #"#),
        (
            "service.store.run+=--burn,30us",
            r#""service"] #"#,
            r#""service", "--burn", "30us"] #"#,
        ),
        (
            r#"service.store.run+=[ "a,b" ]"#,
            r#""service"] #"#,
            r#""service", "a,b"] #"#,
        ),
    ] {
        assert_eq!(
            changed(SUITE, &[setting]).unwrap(),
            SUITE.replace(before, after),
            "{setting}"
        );
    }
}

#[test]
fn what_is_not_there_is_added_where_it_belongs() {
    let text = changed(
        SUITE,
        &[
            "suite.seed=7",
            "service.store.env.A=b",
            "benchmark.one.load.connections=2",
        ],
    )
    .unwrap();
    let read: toml::Table = toml::from_str(&text).unwrap();
    assert_eq!(read["suite"]["seed"].as_integer(), Some(7));
    assert_eq!(read["service"]["store"]["env"]["A"].as_str(), Some("b"));
    assert_eq!(read["benchmark"][0]["load"]["connections"].as_integer(), Some(2));
    assert_eq!(read["benchmark"][0]["load"]["rate"].as_str(), Some("100/s"));
    let text = changed(SUITE, &["broker.nats.server=/bin/x"]).unwrap();
    let read: toml::Table = toml::from_str(&text).unwrap();
    assert_eq!(read["broker"]["nats"]["server"].as_str(), Some("/bin/x"));
}

#[test]
fn a_benchmarks_duration_is_set_in_its_profiles_too() {
    let text = changed(SUITE, &["benchmark.one.load.duration=9s"]).unwrap();
    assert_eq!(text, SUITE.replace("\"1s\"", "\"9s\"").replace("\"300ms\"", "\"9s\""));
}

#[test]
fn what_cannot_be_set_is_refused_with_the_flag() {
    for (setting, says) in [
        (
            "service.stroe.run=x",
            "--set service.stroe.run=x: s.toml: there is no service \"stroe\"; there is store",
        ),
        (
            "benchmark.three.trials=1",
            "no entry \"three\"; there are one, two.parts",
        ),
        ("benchmark.one=1", "\"one\" is a table"),
        ("suite.name.first=x", "behind a value"),
        ("benchmark.one.observe.3.subject=x", "it has 1, numbered from 0"),
        ("suite.name+=x", "no list to add to"),
        ("service.store.run='x", "quotation mark"),
    ] {
        let said = changed(SUITE, &[setting]).unwrap_err();
        assert!(said.contains(says), "{setting}: {said}");
    }
    for form in ["suite.seed", "=x", "a..b=x", "a b=x"] {
        assert!(
            form.parse::<Setting>().unwrap_err().contains("expected KEY=VALUE"),
            "{form}"
        );
    }
}

#[test]
fn an_unknown_key_is_refused_by_the_checks_of_the_file_and_names_the_flag() {
    let refused = |settings: &[&str]| {
        let settings: Vec<Setting> = settings.iter().map(|s| set(s)).collect();
        load_with("event-bus", &settings)
            .map(drop)
            .unwrap_err()
            .report
            .to_string()
    };
    let said = refused(&["suite.seed=7", "broker.nats.sever=/x"]);
    assert!(
        said.contains("--set broker.nats.sever=/x: unknown field `sever`"),
        "{said}"
    );
    assert!(!said.contains("suite.seed"), "{said}");
    let said = refused(&["benchmark.single-event-latency.load.rate=fast"]);
    assert!(said.contains("load.rate=fast: "), "{said}");
    // Each is in order by itself; together they are not, so both are named.
    let said = refused(&[
        "benchmark.single-event-latency.load.connections=4",
        "benchmark.single-event-latency.load.lanes=3",
        "suite.seed=9",
    ]);
    assert!(said.contains("lanes=3"), "{said}");
}

#[test]
fn secrets_are_not_written_down() {
    let mut setting = set("broker.nats.password=hunter2");
    assert_eq!(setting.shown(), "broker.nats.password=(not shown)");
    setting.flag = "--a";
    assert!(!setting.named().contains("hunter2"));
}
