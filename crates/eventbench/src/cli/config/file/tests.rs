use super::*;

fn parsed(text: &str) -> Result<ProjectFile, PlanErrors> {
    let source = Source {
        name: NAME.to_owned(),
        text: text.to_owned(),
    };
    parse(PathBuf::from("project").join(NAME), source)
}

fn texts(file: &ProjectFile, name: &str) -> Option<Vec<String>> {
    file.get(key(name).unwrap())
        .map(|values| values.iter().map(|v| v.value.clone()).collect())
}

#[test]
fn every_key_takes_its_example_and_keeps_its_line() {
    let lines: Vec<String> = KEYS.iter().map(|k| format!("{} = {}", k.name, k.example)).collect();
    let file = parsed(&lines.join("\n")).unwrap();
    for (index, key) in KEYS.iter().enumerate() {
        let values = file.get(key).unwrap();
        assert!(!values.is_empty(), "{}", key.name);
        assert_eq!(file.line(&values[0]), index + 1, "{}", key.name);
    }
    assert_eq!(texts(&file, "suite"), Some(vec!["event-bus".to_owned()]));
    assert_eq!(texts(&file, "open"), Some(vec!["false".to_owned()]));
}

#[test]
fn what_the_file_does_not_say_is_absent_and_an_empty_list_is_empty() {
    let file = parsed("reports = []\n").unwrap();
    assert_eq!(texts(&file, "reports"), Some(Vec::new()));
    assert_eq!(texts(&file, "suite"), None);
    assert_eq!(file.line_of(key("reports").unwrap()), 1);
}

#[test]
fn everything_wrong_is_told_with_its_place() {
    let text = "\
proflie = \"quick\"
open = \"yes\"
reports = [\"markdwn=a.md\", 5]
fail_on = \"mean:lots\"
placement = \"nowhere\"
baseline = \"\"
[env]
BENCHMARK_LATENCY_MIX = 5
BENCHMARK_CPU_MAX = true
";
    let errors = parsed(text).unwrap_err().errors;
    let told: Vec<(usize, &str)> = errors.iter().map(|e| (e.line, e.message.as_str())).collect();
    for (line, says) in [
        (1, "did you mean \"profile\"?"),
        (2, "open: expected true or false, found string"),
        (3, "unknown format \"markdwn\""),
        (3, "expected a string in this list, found integer"),
        (4, "fail_on"),
        (5, "placement"),
        (6, "it is empty"),
        (8, "did you mean \"BENCHMARK_LATENCY_MAX\"?"),
        (9, "expected a string or a number, found boolean"),
    ] {
        assert!(
            told.iter().any(|(l, m)| *l == line && m.contains(says)),
            "{line}: {says:?} is not among {told:#?}"
        );
    }
    assert_eq!(errors.len(), 9, "{told:#?}");
}

#[test]
fn a_name_near_to_none_gets_the_whole_list() {
    let errors = parsed("something_else = 1\n").unwrap_err().errors;
    assert!(
        errors[0].message.contains("expected one of suite, profile"),
        "{}",
        errors[0]
    );
    assert!(parsed("suite = \n").unwrap_err().errors[0].line == 1);
}

#[test]
fn the_nearest_file_is_taken_but_none_beyond_the_repository_or_the_home() {
    let root = tempfile::tempdir().unwrap();
    let deep = root.path().join("home/repository/a/b");
    std::fs::create_dir_all(&deep).unwrap();
    let write = |dir: &str| std::fs::write(root.path().join(dir).join(NAME), "").unwrap();
    let found = |home: Option<&str>| nearest(&deep, home.map(|h| root.path().join(h)).as_deref());
    write("home");
    assert_eq!(found(None), Some(root.path().join("home").join(NAME)));
    assert_eq!(
        found(Some("home/repository/a")),
        None,
        "the home is the last one looked at"
    );
    std::fs::create_dir(root.path().join("home/repository/.git")).unwrap();
    assert_eq!(found(None), None, "a repository ends the search");
    write("home/repository");
    assert_eq!(found(None), Some(root.path().join("home/repository").join(NAME)));
    write("home/repository/a/b");
    assert_eq!(found(None), Some(deep.join(NAME)));
}
