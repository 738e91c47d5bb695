//! What can be refused is refused before anything starts: exit code 2, the place in the file, what was expected, and
//! no history made.

use crate::common::*;

const GOOD: &str = r#"[suite]
name = "t"
[broker.nats]
[service.store]
run = ["true"]
[[benchmark]]
name = "one"
drive = { driver = "nats", subject = "a", payload = "{stamp}" }
observe = { driver = "nats", subject = "a" }
load = { arrival = "constant", rate = "100/s", duration = "500ms" }
limits = ["lost == 0"]
"#;

/// Runs a suite that must be refused, and gives what was said.
#[track_caller]
fn refused(place: &Place, args: &[&str], says: &[&str]) -> Ran {
    // A program that would be started would fail otherwise, with another code.
    let mut command = place.tool(&["run"]);
    command
        .args(args)
        .env("EVENTBENCH_NATS_SERVER", "/nonexistent/nats-server");
    let ran = place.finish(command).exits(2).complains(says);
    assert_eq!(ran.out, "");
    assert!(
        !place.history().exists(),
        "a history was made for a plan that was refused"
    );
    assert!(place.left_behind().is_empty());
    ran
}

#[test]
fn a_plan_that_is_wrong_is_refused_at_its_place() {
    let place = Place::new();
    let two = format!("{GOOD}{}", &GOOD[GOOD.find("[[benchmark]]").unwrap()..]);
    let fault = |at: &str, service: &str| {
        format!("{GOOD}fault = [{{ at = \"{at}\", action = \"kill\", service = \"{service}\" }}]\n")
    };
    for (text, says) in [
        (
            GOOD.replace("limits", "limitz"),
            &["suite.toml:11:1", "unknown field `limitz`", "`limits`"][..],
        ),
        (
            GOOD.replace("[broker.nats]", "[broker.nats]\nprot = 1"),
            &["suite.toml:4:1", "unknown field `prot`", "`port`"],
        ),
        (GOOD.replace("500ms", "500MB"), &["suite.toml:10:59", "500MB", "10ms"]),
        (GOOD.replace("100/s", "100ms"), &["suite.toml:10:39", "100ms", "/s"]),
        (
            GOOD.replace(
                "driver = \"nats\", subject = \"a\", payload",
                "driver = \"natz\", subject = \"a\", payload",
            ),
            &["suite.toml:8:20", "natz", "did you mean \"nats\"?"],
        ),
        (
            GOOD.replace("observe = { driver = \"nats\"", "observe = { driver = \"sqlit\""),
            &["suite.toml:9:22", "sqlit", "did you mean \"sqlite\"?"],
        ),
        (
            GOOD.replace("constant", "konstant"),
            &["suite.toml:10:8", "konstant", "did you mean \"constant\"?"],
        ),
        (
            GOOD.replace("rate = \"100/s\"", "rate = \"100/s\", workers = 2"),
            &["suite.toml:10:8", "no `workers`"],
        ),
        (
            GOOD.replace("lost == 0", "lost.p(95) == 0"),
            &["suite.toml:11:11", "`lost` is a counter", "value"],
        ),
        (
            GOOD.replace("lost == 0", "lost 0"),
            &["suite.toml:11:11", "expected a comparison"],
        ),
        (
            GOOD.replace("lost == 0", "mean < 5MB"),
            &["suite.toml:11:11", "duration"],
        ),
        (
            GOOD.replace("{stamp}", "{stampf}"),
            &["suite.toml:8:53", "unknown payload field {stampf}", "{stamp}"],
        ),
        (
            GOOD.replace("subject = \"a\", payload", "subject = \"a b\", payload"),
            &["suite.toml:8:38", "not a subject"],
        ),
        (
            fault("100ms", "stor"),
            &["suite.toml:12:10", "unknown service \"stor\"", "store"],
        ),
        (
            fault("600ms", "store"),
            &["suite.toml:12:10", "600ms", "after the load has ended"],
        ),
        (two, &["suite.toml:13:8", "two benchmarks named \"one\""]),
        (String::new(), &["suite.toml:1:1", "suite"]),
        ("@@@ no toml {{{".to_owned(), &["suite.toml:1:"]),
        (GOOD.replace("[[benchmark]]", "[[benchmark"), &["suite.toml:6:"]),
        (
            GOOD[..GOOD.find("[[benchmark]]").unwrap()].to_owned(),
            &["suite.toml:1:1", "no [[benchmark]]"],
        ),
    ] {
        let place = Place::new();
        place.write("suite.toml", &text);
        refused(&place, &["suite.toml"], says);
        let check = place.run(&["check", "suite.toml"]).exits(2).complains(says);
        assert_eq!(check.out, "");
    }
    place.write("suite.toml", GOOD);
    place.run(&["check", "suite.toml"]).exits(0);
}

#[test]
fn a_selection_that_means_nothing_is_refused() {
    let place = Place::new();
    place.write("suite.toml", GOOD);
    refused(
        &place,
        &["suite.toml", "--only", "tow"],
        &["\"tow\" matches no benchmark", "eventbench list"],
    );
    refused(&place, &["suite.toml", "--skip", "one"], &["nothing is left to run"]);
    refused(
        &place,
        &["event-bus", "--profile", "quik"],
        &["no profile \"quik\"", "quick, standard, soak"],
    );
    refused(&place, &["suite.toml", "--profile", "quik"], &["no profile \"quik\""]);
    refused(&place, &["suite.toml", "--rate", "fast"], &["fast", "--rate"]);
    refused(&place, &["suite.toml", "--trials", "0"], &["--trials"]);
}

#[test]
fn an_output_that_cannot_be_written_is_refused() {
    let place = Place::new();
    place.write("suite.toml", GOOD);
    refused(
        &place,
        &["suite.toml", "-o", "jsn=x"],
        &["unknown format \"jsn\"", "markdown", "json"],
    );
    refused(
        &place,
        &["suite.toml", "-o", "json=no/such/run.json"],
        &["no/such", "does not exist"],
    );
    refused(&place, &["suite.toml", "-o", "json=tmp"], &["tmp", "is a directory"]);
    refused(&place, &["suite.toml", "-o", "json="], &["names no file"]);
    assert!(!place.path("run.json").exists());
}

#[test]
fn one_report_for_several_suites_is_refused() {
    let place = Place::new();
    place.write("one.toml", GOOD);
    place.write("two.toml", GOOD);
    refused(
        &place,
        &["one.toml", "two.toml", "-o", "json=both.json"],
        &["overwrite", "eventbench report"],
    );
}

#[test]
fn a_fault_that_a_flag_puts_beyond_the_end_is_refused() {
    let place = Place::new();
    place.write(
        "suite.toml",
        format!("{GOOD}fault = [{{ at = \"400ms\", action = \"kill\", service = \"store\" }}]\n"),
    );
    refused(
        &place,
        &["suite.toml", "--duration", "300ms"],
        &["fault", "400ms", "300ms"],
    );
}

#[test]
fn what_is_no_suite_is_named() {
    let place = Place::new();
    refused(
        &place,
        &["no-such-suite"],
        &["no suite \"no-such-suite\"", "event-bus", "eventbench init"],
    );
    place.write("binary.toml", [b"[suite]\nname = \"", &[0xff, 0xfe, 0x00][..]].concat());
    refused(&place, &["binary.toml"], &["binary.toml:2:9", "UTF-8"]);
    place.write("zeros.toml", [0u8; 100]);
    refused(&place, &["zeros.toml"], &["zeros.toml:1:1"]);
    refused(&place, &["tmp"], &["tmp", "directory"]);
}

#[test]
fn a_line_of_a_megabyte_is_refused_in_few_words() {
    for text in [
        format!("x = \"{}\"", "a".repeat(1 << 20)),
        "a".repeat(1 << 20),
        "[".repeat(1 << 20),
    ] {
        let place = Place::new();
        place.write("suite.toml", text);
        let ran = refused(&place, &["suite.toml"], &["suite.toml:1:"]);
        assert!(ran.err.len() < 4_000, "{} bytes were printed", ran.err.len());
    }
}
