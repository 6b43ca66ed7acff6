//! Runs a command of the operator: argument list, no shell, time limit, output into the log.
//!
//! Never hands on our tokens, and never logs a private key or a token. What stays true: when the
//! limit is over, the command and everything it started in its process group are killed.

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::Command,
    task::JoinSet,
    time::timeout,
};

use super::Event;
use crate::{
    child,
    config::Environment,
    model::{
        reload::{Delivery, ReloadFailure},
        secret::Secret,
    },
};

/// More lines of one command are not logged.
const MAX_LOGGED_LINES: usize = 100;
/// More bytes of one line are not logged.
const MAX_LINE_BYTES: usize = 1000;
/// What is written after the command's end is waited for no longer than this.
const OUTPUT_TIMEOUT: Duration = Duration::from_millis(500);

/// One command to run.
pub(super) struct HookCommand<'a> {
    pub(super) argv: &'a [String],
    pub(super) limit: Duration,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) secrets: &'a [Secret],
}

/// What a command may inherit, and the texts that must not be logged.
pub(super) fn split(environment: &Environment) -> (Environment, Vec<Secret>) {
    let mut inherited = Environment::new();
    let mut secrets = Vec::new();
    for (name, value) in environment {
        if is_secret(name) {
            if value.len() >= 8 {
                secrets.push(Secret::new(value.clone()));
            }
        } else if !name.starts_with("CERTAGENT_") {
            inherited.insert(name.clone(), value.clone());
        }
    }
    (inherited, secrets)
}

/// Variables that by their name hold a token, a password or a key.
fn is_secret(name: &str) -> bool {
    const WORDS: [&str; 6] = [
        "TOKEN",
        "SECRET_ID",
        "PASSWORD",
        "PASSWD",
        "HEADERS",
        "CREDENTIAL",
    ];
    let paths = name.ends_with("_FILE") || name.ends_with("_PATH") || name.ends_with("_DIR");
    !paths
        && WORDS
            .iter()
            .any(|word| name.to_ascii_uppercase().contains(word))
}

/// Inherited, then ours, then the operator's own; the last one wins.
pub(super) fn variables(
    inherited: &Environment,
    event: &Event,
    own: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut all = inherited.clone();
    let ours = event.variables().into_iter();
    all.extend(ours.map(|(name, value)| (name.to_owned(), value)));
    all.extend(own.clone());
    all
}

/// Runs it to its end.
pub(super) async fn run(order: HookCommand<'_>) -> Result<Delivery, ReloadFailure> {
    let Some((program, arguments)) = order.argv.split_first() else {
        let text = "the command has no program".to_owned();
        return Err(ReloadFailure::lasting("exec-empty", text, "set argv"));
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(&order.variables)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = child::spawn(&mut command).map_err(|error| {
        let text = format!("starting {program}: {error}");
        ReloadFailure::lasting("exec-not-started", text, "check argv and the file's mode")
    })?;
    // Kills the group also when this future is dropped.
    let group = Group(Some(child.pid()));
    let mut readers = JoinSet::new();
    let secrets: Vec<Secret> = order.secrets.to_vec();
    if let Some(output) = child.stdout.take() {
        readers.spawn(log(program.clone(), "stdout", output, secrets.clone()));
    }
    if let Some(output) = child.stderr.take() {
        readers.spawn(log(program.clone(), "stderr", output, secrets));
    }
    let ended = timeout(order.limit, child.wait()).await;
    let Ok(status) = ended else {
        drop(group);
        let text = format!(
            "{program} did not end within {:?} and was killed",
            order.limit
        );
        return Err(ReloadFailure::unclear(
            "exec-timeout",
            text,
            "set a longer exec_timeout",
        ));
    };
    // Whatever it left running in the background is its own affair, but is not listened to.
    group.release();
    let _ = timeout(OUTPUT_TIMEOUT, async {
        while readers.join_next().await.is_some() {}
    })
    .await;
    match status {
        Ok(status) if status.success() => Ok(Delivery::Delivered),
        Ok(status) => {
            let text = format!("{program} ended with {status}");
            Err(match status.code() {
                Some(_) => ReloadFailure::passing("exec-failed", text, "see its output in the log"),
                None => ReloadFailure::unclear("exec-killed", text, ""),
            })
        }
        Err(error) => {
            let text = format!("waiting for {program}: {error}");
            Err(ReloadFailure::unclear("exec-lost", text, ""))
        }
    }
}

/// Kills a process group when dropped.
struct Group(Option<Pid>);

impl Group {
    fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // Its leader was not waited for, so the id is still its own.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

async fn log(
    program: String,
    stream: &'static str,
    output: impl AsyncRead + Unpin,
    secrets: Vec<Secret>,
) {
    let mut reader = BufReader::new(output);
    let mut cover = Cover::default();
    let mut lines = 0;
    let mut line = Vec::new();
    // Read to the end also when no more is logged: a full pipe would block the command.
    while let Ok(1..) = next_line(&mut reader, &mut line).await {
        let text = String::from_utf8_lossy(&line);
        if let Some(text) = cover.line(text.trim_end(), &secrets)
            && lines < MAX_LOGGED_LINES
        {
            lines += 1;
            tracing::info!(program, stream, "{text}");
        }
    }
}

/// One line, its end cut off beyond the limit; returns how many bytes were read.
async fn next_line(
    reader: &mut (impl AsyncBufReadExt + Unpin),
    line: &mut Vec<u8>,
) -> std::io::Result<usize> {
    line.clear();
    let mut total = 0;
    loop {
        let buffer = reader.fill_buf().await?;
        if buffer.is_empty() {
            return Ok(total);
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(buffer.len(), |end| end + 1);
        let room = MAX_LINE_BYTES.saturating_sub(line.len()).min(used);
        line.extend_from_slice(&buffer[..room]);
        reader.consume(used);
        total += used;
        if end.is_some() {
            return Ok(total);
        }
    }
}

/// Takes secrets out of a command's output.
#[derive(Default)]
struct Cover {
    inside_key: bool,
}

impl Cover {
    /// The line as it may be logged; `None` inside a private key.
    fn line(&mut self, line: &str, secrets: &[Secret]) -> Option<String> {
        if self.inside_key {
            self.inside_key = !line.contains("-----END");
            return None;
        }
        if line.contains("PRIVATE KEY-----") {
            self.inside_key = !line.contains("-----END");
            return Some("[private key]".to_owned());
        }
        let mut text: Vec<&str> = Vec::new();
        for word in line
            .split_inclusive(|letter: char| letter.is_whitespace() || "\"'=,;:".contains(letter))
        {
            text.push(if is_token(word) { "[secret] " } else { word });
        }
        let mut text = text.concat();
        for secret in secrets {
            text = text.replace(secret.expose(), "[secret]");
        }
        Some(text)
    }
}

/// Tokens of Vault and OpenBao, and JWTs, by their form.
fn is_token(word: &str) -> bool {
    let starts = |all: &[&str]| all.iter().any(|start| word.starts_with(start));
    let old = starts(&["s.", "b.", "r."]) && (26..=27).contains(&word.len());
    let vault = old || (starts(&["hvs.", "hvb.", "hvr."]) && word.len() >= 20);
    let jwt = word.starts_with("eyJ") && word.matches('.').count() == 2;
    vault || jwt
}

#[cfg(test)]
mod tests;
