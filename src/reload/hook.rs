//! Runs a command of the operator: argument list, no shell, time limit, output into the log.
//!
//! Never hands on our tokens, and never logs a token or a line of the live key. What stays true: when
//! the limit is over, the command and everything it started are killed, also in other sessions.

use std::{collections::BTreeMap, process::Stdio, sync::Arc, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::Command,
    task::JoinSet,
    time::{sleep, timeout},
};
use zeroize::Zeroizing;

use super::Event;
use crate::{
    child::{self, Family},
    config::Environment,
    model::{
        cover::{self, KeyTraces},
        reload::{Delivery, ReloadFailure},
        secret::Secret,
    },
};

/// More lines of one command are not logged.
const MAX_LOGGED_LINES: usize = 100;
/// More bytes of one line are not looked at.
const MAX_LINE_BYTES: usize = 64 * 1024;
/// More characters of one line are not logged; what is a secret is covered before the line is cut.
const MAX_LOGGED_CHARS: usize = 1000;
/// What is written after the command's end is waited for no longer than this.
const OUTPUT_TIMEOUT: Duration = Duration::from_millis(500);

/// How long the end of what was killed is waited for, and how often it is looked for.
const END_TIMEOUT: Duration = Duration::from_millis(500);
const END_INTERVAL: Duration = Duration::from_millis(10);

/// One command to run.
pub(super) struct HookCommand<'a> {
    pub(super) argv: &'a [String],
    pub(super) limit: Duration,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) hidden: Hidden<'a>,
}

/// What must not be logged.
#[derive(Clone, Copy)]
pub(super) struct Hidden<'a> {
    /// Texts, such as our token.
    pub(super) secrets: &'a [Secret],
    /// The live key.
    pub(super) key: &'a KeyTraces,
}

/// What a command may inherit, and the texts that must not be logged.
pub(super) fn split(environment: &Environment) -> (Environment, Vec<Secret>) {
    let mut inherited = Environment::new();
    let mut secrets = Vec::new();
    for (name, value) in environment {
        let of_vault = name.starts_with("VAULT_") || name.starts_with("BAO_");
        let password = cover::password(value).filter(|_| of_vault);
        secrets.extend(password.map(|text| Secret::new(text.to_owned())));
        if cover::names_secret(name) || password.is_some() {
            if value.len() >= 8 {
                secrets.push(Secret::new(value.clone()));
            }
        } else if !name.starts_with("CERTAGENT_") {
            inherited.insert(name.clone(), value.clone());
        }
    }
    (inherited, secrets)
}

/// The texts in the operator's own variables that must not be logged.
pub(super) fn secrets_of(own: &BTreeMap<String, String>) -> impl Iterator<Item = Secret> {
    let named = own
        .iter()
        .filter(|(name, value)| cover::names_secret(name) && value.len() >= 8);
    named.map(|(_, value)| Secret::new(value.clone()))
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
    let group = Group(Some(child.pid()), Family::of(child.pid()));
    let mut readers = JoinSet::new();
    let cover = Cover::of(order.hidden);
    if let Some(output) = child.stdout.take() {
        readers.spawn(log(program.clone(), "stdout", output, cover.clone()));
    }
    if let Some(output) = child.stderr.take() {
        readers.spawn(log(program.clone(), "stderr", output, cover));
    }
    let ended = timeout(order.limit, child.wait()).await;
    let Ok(status) = ended else {
        group.end().await;
        let text = format!(
            "{program} did not exit within {:?} and was killed",
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
            let text = format!("{program} exited with {status}");
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

/// Kills a process group and all that descends from it when dropped.
struct Group(Option<Pid>, Family);

impl Group {
    fn release(mut self) {
        self.0 = None;
    }

    fn kill(&mut self) {
        if let Some(pid) = self.0.take() {
            self.1.kill();
            // Its leader was not waited for, so the id is still its own.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }

    /// Kills it, and waits a moment until all of it has exited.
    async fn end(mut self) {
        self.kill();
        let _stuck = timeout(END_TIMEOUT, async {
            while !self.1.is_gone() {
                sleep(END_INTERVAL).await;
            }
        })
        .await;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn log(
    program: String,
    stream: &'static str,
    output: impl AsyncRead + Unpin,
    mut cover: Cover,
) {
    let mut reader = BufReader::new(output);
    let mut lines = 0;
    let mut line = Zeroizing::default();
    // Read to the end also when no more is logged: a full pipe would block the command.
    while let Ok(1..) = next_line(&mut reader, &mut line).await {
        let text = String::from_utf8_lossy(&line);
        if let Some(text) = cover.line(text.trim_end())
            && lines < MAX_LOGGED_LINES
        {
            lines += 1;
            let text: String = text.chars().take(MAX_LOGGED_CHARS).collect();
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
#[derive(Clone)]
struct Cover {
    secrets: Vec<Secret>,
    key: Arc<KeyTraces>,
    /// Between BEGIN and END.
    inside_key: bool,
    /// The line before was a piece of the key: its rest may be too short to be known.
    after_key: bool,
}

/// Stands for lines of a private key.
const KEY: &str = "[private key]";

impl Cover {
    fn of(hidden: Hidden<'_>) -> Self {
        Self {
            secrets: hidden.secrets.to_vec(),
            key: Arc::new(hidden.key.clone()),
            inside_key: false,
            after_key: false,
        }
    }

    /// The line as it may be logged; `None` for the second line of a private key and all others.
    fn line(&mut self, line: &str) -> Option<String> {
        if self.inside_key {
            self.inside_key = !line.contains("-----END");
            return None;
        }
        if line.contains("PRIVATE KEY-----") {
            self.inside_key = !line.contains("-----END");
            return Some(KEY.to_owned());
        }
        let more = self.after_key && is_rest(line);
        if more || self.key.is_in(line) {
            let first = !self.after_key;
            self.after_key = true;
            return first.then(|| KEY.to_owned());
        }
        self.after_key = false;
        let mut text = cover::tokens(line);
        if cover::holds_password(&text) {
            text = cover::url(&text);
        }
        for secret in &self.secrets {
            text = text.replace(secret.expose(), "[secret]");
        }
        Some(text)
    }
}

/// Could it be the last line of something in hex or base64?
fn is_rest(line: &str) -> bool {
    let line = line.trim();
    let letter = |one: u8| one.is_ascii_alphanumeric() || b"+/=-_:".contains(&one);
    !line.is_empty() && line.len() <= 80 && line.bytes().all(letter)
}

#[cfg(test)]
mod tests;
