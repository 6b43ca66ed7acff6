//! The `reload` and `rollback` blocks of a certificate: how the application gets to know of it.
//!
//! Never tells anybody. What stays true: every step of a list has all that it needs, and what is
//! known to do harm is noted.

use std::{collections::BTreeMap, time::Duration};

use super::super::{
    layers::{Derived, Layers},
    table::Section,
    types::{App, ReloadConfig, ReloadStep},
    values,
};
use crate::model::{
    duration,
    reload::{Action, SignalName, SignalTarget},
    stagger::Stagger,
};

/// What the steps of both lists are made of.
struct Parts {
    app: App,
    task: Option<String>,
    signal: Option<SignalName>,
    target: SignalTarget,
    command: Vec<String>,
    env: BTreeMap<String, String>,
    exec_timeout: Duration,
    url: Option<String>,
    method: String,
    expect: Vec<u16>,
    http_timeout: Duration,
}

/// The words of a list of actions. One mistake is one problem.
fn words(layers: &mut Layers<'_, '_>, key: &str) -> Option<Vec<&'static str>> {
    let before = layers.all.problems.list().len();
    let words = layers.read_list(key, None, word);
    let sound = layers.all.problems.list().len() == before;
    if sound && words.is_empty() {
        layers.problem(
            key,
            "needs at least one action; for nothing write [\"none\"]",
        );
    }
    sound.then_some(words)
}

/// What the block and its flags and variables say.
pub(super) fn reload(
    layers: &mut Layers<'_, '_>,
    common_name: Option<&str>,
) -> Option<ReloadConfig> {
    let parts = parts(layers, common_name);
    let version_url = version_url(layers);
    let verify_timeout = layers.read("verify_timeout", values::positive);
    let kill_timeout = layers.read("kill_timeout", values::duration);
    let lock = layers.read("lock", values::variable_path);
    let min_healthy_time = min_healthy_time(layers, parts.as_ref().map(|parts| parts.app));
    let on_cert_change = words(layers, "on_cert_change");
    let on_ca_change = words(layers, "on_ca_change");
    let stagger = stagger(&mut layers.inner(Section::Stagger));
    let parts = parts?;
    let mut steps = |key, words: Option<Vec<&'static str>>| -> Option<Vec<ReloadStep>> {
        let steps: Vec<_> = words?
            .iter()
            .map(|word| step(layers, key, word, &parts))
            .collect();
        steps.into_iter().collect()
    };
    let on_cert_change = steps("on_cert_change", on_cert_change);
    let on_ca_change = steps("on_ca_change", on_ca_change);
    let found = ReloadConfig {
        app: parts.app,
        on_cert_change: on_cert_change?,
        on_ca_change: on_ca_change?,
        task: parts.task,
        version_url,
        verify_timeout: verify_timeout?,
        kill_timeout: kill_timeout?,
        stagger: stagger.ok()?,
        lock,
        min_healthy_time: min_healthy_time?,
    };
    warn(layers, &found, parts.signal);
    Some(found)
}

/// The margin, when going back is wanted.
pub(super) fn rollback(
    layers: &mut Layers<'_, '_>,
    ttl: Option<Duration>,
    probed: bool,
) -> Option<Duration> {
    let wanted = Derived::new(probed.to_string(), "the probe");
    let enabled = layers.read_or("enabled", Some(wanted), values::truth);
    let margin = ttl.map(|ttl| Derived::new(duration::print(ttl / 10), "the ttl"));
    let margin = layers.read_or("min_previous_validity", margin, values::duration);
    if enabled == Some(true) && !probed {
        layers.problem(
            "enabled",
            "needs a probe, which shows whether the application broke",
        );
    }
    margin.filter(|_| enabled == Some(true))
}

fn parts(layers: &mut Layers<'_, '_>, common_name: Option<&str>) -> Option<Parts> {
    let nomad = layers.all.environment.get("NOMAD_ALLOC_ID");
    let loki = nomad.is_some_and(|id| !id.is_empty())
        && common_name.is_some_and(|name| name.starts_with("loki-"));
    let app = if loki { "loki" } else { "generic" };
    let app = Derived::new(app, "the name and NOMAD_ALLOC_ID");
    let app = layers.read_or("app", Some(app), |text| match text {
        "loki" => Ok(App::Loki),
        "generic" => Ok(App::Generic),
        _ => Err("not loki or generic".to_owned()),
    });
    let task = (app == Some(App::Loki)).then(|| Derived::new("loki", "app"));
    let task = layers.read_or("task", task, values::text);
    let signal = layers.read("signal", str::parse::<SignalName>);
    let pid = layers.read("pid", values::at_least_one);
    let pid_file = layers.read("pid_file", values::text);
    if pid.is_some() && pid_file.is_some() {
        layers.problem("pid", "pid and pid_file exclude each other");
    }
    let target = match (pid, pid_file) {
        (Some(pid), _) => SignalTarget::Pid(pid),
        (None, Some(path)) => SignalTarget::PidFile(path.into()),
        (None, None) => SignalTarget::Child,
    };
    let command = layers.read_list("command", None, values::text);
    let env = layers.read_list("env", None, variable);
    let exec_timeout = layers.read("exec_timeout", values::positive);
    let url = layers.read("url", values::loopback_url);
    let method = layers.read("method", |text| match text {
        "POST" | "PUT" | "GET" => Ok(text.to_owned()),
        _ => Err("not POST, PUT or GET".to_owned()),
    });
    let expect = layers.read_list("expect_status", None, |text| match text.parse() {
        Ok(status @ 100..=599) => Ok(status),
        _ => Err("not a status from 100 to 599".to_owned()),
    });
    let http_timeout = layers.read("http_timeout", values::positive);
    Some(Parts {
        app: app?,
        task,
        signal,
        target,
        command,
        env: env.into_iter().collect(),
        exec_timeout: exec_timeout?,
        url,
        method: method?,
        expect,
        http_timeout: http_timeout?,
    })
}

/// Loki's own look-ups and reconnects: 10 s by DNS, 15 s for what was found to be unhealthy.
fn min_healthy_time(layers: &mut Layers<'_, '_>, app: Option<App>) -> Option<Duration> {
    let usual = if app == Some(App::Loki) { "15s" } else { "0s" };
    layers.read_or(
        "min_healthy_time",
        Some(Derived::new(usual, "app")),
        values::duration,
    )
}

fn version_url(layers: &mut Layers<'_, '_>) -> Option<String> {
    let variable = "NOMAD_ADDR_http";
    let address = layers.all.environment.get(variable);
    let address = address.filter(|text| !text.is_empty());
    let derived = address.map(|text| Derived::new(format!("http://{text}"), variable));
    layers.read_or("version_url", derived, |text| match values::address(text) {
        Ok(url) if url.starts_with("http://") => Ok(url),
        _ => Err("not http://host:port".to_owned()),
    })
}

fn stagger(layers: &mut Layers<'_, '_>) -> Result<Option<Stagger>, ()> {
    let before = layers.all.problems.list().len();
    let window = layers.read("window", values::positive);
    let count = layers.read("count", values::at_least_one);
    let variable = "NOMAD_ALLOC_INDEX";
    let index = layers.all.environment.get(variable);
    let index = index.filter(|text| !text.is_empty()).cloned();
    let index = index.map(|text| Derived::new(text, variable));
    let index = layers.read_or("index", index, values::count);
    if layers.mentioned() && (count.is_none() || index.is_none()) {
        let missing = if count.is_none() { "count" } else { "index" };
        if layers.written(missing).is_none() {
            layers.problem(missing, "turns need the count of the group and an index");
        }
    }
    if layers.all.problems.list().len() > before {
        return Err(());
    }
    Ok(match (window, count, index) {
        (Some(window), Some(count), Some(index)) => Some(Stagger {
            window,
            count,
            index,
        }),
        _ => None,
    })
}

const WORDS: [&str; 7] = [
    "auto",
    "none",
    "nomad_signal",
    "nomad_restart",
    "signal",
    "exec",
    "http",
];

fn word(text: &str) -> Result<&'static str, String> {
    let known = WORDS.into_iter().find(|word| *word == text);
    known.ok_or_else(|| format!("not one of {}", WORDS.join(", ")))
}

/// `NAME=value`.
fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("not NAME=value".to_owned()),
    }
}

/// A step with all that it needs, or a problem that names what it lacks.
fn step(layers: &mut Layers<'_, '_>, list: &str, word: &str, parts: &Parts) -> Option<ReloadStep> {
    let mut lacks = |key: &str| {
        if layers.written(key).is_none() {
            layers.problem(key, format!("{list} contains {word}, which needs it"));
        }
    };
    if matches!(word, "nomad_signal" | "nomad_restart") && parts.task.is_none() {
        lacks("task");
    }
    if matches!(word, "nomad_signal" | "signal") && parts.signal.is_none() {
        lacks("signal");
    }
    if word == "exec" && parts.command.is_empty() {
        lacks("command");
    }
    if word == "http" && parts.url.is_none() {
        lacks("url");
    }
    Some(ReloadStep::Do(match word {
        "auto" => return Some(ReloadStep::Auto),
        "nomad_signal" => Action::NomadSignal {
            task: parts.task.clone()?,
            signal: parts.signal?,
        },
        "nomad_restart" => Action::NomadRestart {
            task: parts.task.clone()?,
        },
        "signal" => Action::Signal {
            target: parts.target.clone(),
            signal: parts.signal?,
        },
        "exec" => Action::Exec {
            argv: parts.command.clone(),
            timeout: parts.exec_timeout,
            env: parts.env.clone(),
        },
        "http" => Action::Http {
            method: parts.method.clone(),
            url: parts.url.clone()?,
            expect: parts.expect.clone(),
            timeout: parts.http_timeout,
        },
        _ => Action::None,
    }))
}

/// What works, but not as it may be expected.
fn warn(layers: &mut Layers<'_, '_>, found: &ReloadConfig, signal: Option<SignalName>) {
    let name = layers.certificate.clone().unwrap_or_default();
    let mut note = |text: String| {
        let notes = &mut layers.all.notes;
        notes.push(format!("certificate {name}: {text}"));
    };
    let all = || found.on_cert_change.iter().chain(&found.on_ca_change);
    let sends = |step: &ReloadStep| {
        matches!(
            step,
            ReloadStep::Do(Action::Signal { .. } | Action::NomadSignal { .. })
        )
    };
    let app = match found.app {
        App::Loki => "loki",
        App::Generic => "generic",
    };
    if let Some(warning) = signal
        .filter(|_| all().any(sends))
        .and_then(|one| one.warning(app))
    {
        note(format!("reload.signal: {warning}"));
    }
    if found.on_ca_change.len() > 1
        && found.on_ca_change.first() == Some(&ReloadStep::Do(Action::None))
    {
        note(
            "reload.on_ca_change begins with none: a probe can't show whether new trust anchors \
             were loaded, so the next actions are mostly not reached"
                .to_owned(),
        );
    }
}
