//! What calls a person at night leads to a heading that says what to do.
//!
//! Never asks Prometheus. What stays true: each alert, failure class and exit code has its heading in
//! docs/runbooks.md, and no heading is left of something that is gone.

use std::{fs, process::Command};

use certagent::{exit::Exit, model::failure::FailureClass, observe::metrics::METRICS};

use super::rooms::root;

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The headings below a heading of the second level.
fn headings(part: &str) -> Vec<String> {
    let text = text("docs/runbooks.md");
    let (_, rest) = text.split_once(&format!("\n## {part}\n")).unwrap();
    let lines = rest.split("\n## ").next().unwrap().lines();
    lines
        .filter_map(|line| line.strip_prefix("### "))
        .map(str::to_owned)
        .collect()
}

/// Each alert with the lines below it.
fn alerts() -> Vec<(String, String)> {
    let text = text("configs/alerts.yaml");
    let blocks = text.split("      - alert: ").skip(1);
    let found = blocks.map(|block| block.split_once('\n').unwrap());
    found
        .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
        .collect()
}

#[test]
fn every_alert_has_its_runbook_and_links_to_it() {
    let alerts = alerts();
    let names: Vec<_> = alerts.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(headings("Alerts"), names);
    for (name, rest) in alerts {
        let link = format!("docs/runbooks.md#{}", name.to_lowercase());
        assert!(rest.contains(&format!("runbook_url: {link}\n")), "{name}");
        let (_, texts) = rest.split_once("annotations:").unwrap();
        let what = texts.contains("$labels.instance") || texts.contains("$labels.subject");
        assert!(
            what && texts.contains("description:"),
            "{name} names nothing"
        );
    }
}

#[test]
fn every_failure_class_and_exit_code_has_its_runbook() {
    let classes = FailureClass::ALL.map(|class| class.name().to_owned());
    assert_eq!(headings("Failure classes"), classes);
    let failed = Exit::ALL.into_iter().filter(|exit| *exit != Exit::Done);
    let exits: Vec<_> = failed
        .map(|exit| format!("{}: {}", exit.code(), exit.meaning()))
        .collect();
    assert_eq!(headings("Exit codes"), exits);
}

#[test]
fn what_is_silenced_are_alerts_that_exist_and_none_that_pages_alone() {
    let names: Vec<_> = alerts().into_iter().map(|(name, _)| name).collect();
    let text = text("configs/alertmanager.yaml");
    let words = text.split(|c: char| !c.is_alphanumeric());
    let named: Vec<_> = words
        .filter(|word| word.starts_with("Certagent") && *word != "Certagent")
        .collect();
    assert!(named.len() >= 10, "{named:?}");
    for name in named {
        assert!(names.iter().any(|one| one == name), "{name} is no alert");
    }
}

#[test]
fn one_command_gives_each_alert_an_address_that_a_pager_opens() {
    let page = text("docs/runbooks.md");
    let line = page.lines().find(|line| line.starts_with("sed ")).unwrap();
    let (line, _) = line.split_once(" > ").unwrap();
    let mut shell = Command::new("sh");
    let output = shell.args(["-c", line]).current_dir(root()).output();
    let made = String::from_utf8(output.unwrap().stdout).unwrap();
    let link = "runbook_url: https://git.example/certagent/blob/main/docs/runbooks.md#";
    assert_eq!(made.matches(link).count(), alerts().len());
    assert_eq!(made.matches("runbook_url: ").count(), alerts().len());
}

/// The labels that an alert has besides those of its rule: of the last metric in its expression.
fn labels(alert: &str) -> Vec<&'static str> {
    if alert == "CertagentDown" {
        return vec!["instance"];
    }
    let (_, rest) = alerts()
        .into_iter()
        .find(|(name, _)| name == alert)
        .unwrap();
    let (_, rest) = rest.split_once("expr:").unwrap();
    let expr = rest.split("labels:").next().unwrap();
    let found = METRICS
        .iter()
        .filter(|metric| expr.contains(&metric.name()));
    let metric = found.max_by_key(|metric| metric.name().len());
    let mut labels = metric.unwrap().labels.to_vec();
    labels.push("instance");
    labels
}

/// No Alertmanager reads the file here. What it would not say
/// either is checked: a label in `equal` that an alert does not have never silences it.
#[test]
fn what_silences_and_what_is_silenced_have_the_labels_that_must_be_equal() {
    let text = text("configs/alertmanager.yaml");
    let list = |rule: &str, key: &str| -> String {
        let (_, rest) = rule.split_once(&format!("{key}: [")).unwrap();
        rest.split("]\n").next().unwrap().to_owned()
    };
    let rules: Vec<_> = text.split("- source_matchers").skip(1).collect();
    assert_eq!(rules.len(), 5);
    for rule in rules {
        let rule = format!("source_matchers{}\n", rule.trim_end());
        let equal = list(&rule, "equal");
        let sides = ["source_matchers", "target_matchers"].map(|key| list(&rule, key));
        let names = sides.iter().flat_map(|side| side.split(['"', '|']));
        let names = names.filter(|name| name.starts_with("Certagent") && !name.contains('*'));
        for name in names {
            let has = labels(name);
            for label in equal.split(", ") {
                assert!(has.contains(&label), "{name} has no {label}: {rule}");
            }
        }
    }
    assert!(!labels("CertagentDown").contains(&"certificate"));
}
