//! Asks the running agent over its status socket.
//!
//! Never keeps a connection. What stays true: when no process answers, the error says what is there and
//! what to do.

use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::timeout,
};

use super::Stopped;
use crate::{
    config::{self, Environment, MAX_SOCKET_PATH},
    exit::Exit,
    fleet::report::ReportedAgent,
};

/// An agent that runs answers at once; one that is stopped takes the connection and says nothing.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);

/// The agent's answers are far smaller, even with a thousand certificates.
const MAX_BODY_BYTES: u64 = 64 << 20;

/// What the agent said.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AgentAnswer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// The socket of the flag, else the environment's.
pub(super) fn socket(flag: Option<&Path>, environment: &Environment) -> anyhow::Result<PathBuf> {
    let found = flag.map(Path::to_owned);
    found
        .or_else(|| config::status_socket(environment))
        .ok_or_else(|| {
            Stopped::usage(
                "status socket not set",
                "use --socket or CERTAGENT_STATUS_SOCKET, and start `run` with --status-socket",
            )
            .into()
        })
}

/// What the agent says of itself, and its JSON.
pub(super) async fn status(socket: &Path) -> anyhow::Result<(ReportedAgent, String)> {
    let asking = timeout(QUESTION_TIMEOUT, ask(socket, "GET", "/status"));
    let answer = asking.await.map_err(|_| silent(socket))??;
    anyhow::ensure!(
        answer.status == 200,
        "the agent refused with {}",
        answer.status
    );
    let report = serde_json::from_str(&answer.body).context("the agent's answer is damaged")?;
    Ok((report, answer.body))
}

fn silent(socket: &Path) -> Stopped {
    Stopped {
        exit: Exit::TimedOut,
        message: format!(
            "no answer at {} within {QUESTION_TIMEOUT:?}",
            socket.display()
        ),
        hint: Some(
            "is the agent stopped (SIGSTOP, a frozen cgroup), or the machine busy?".to_owned(),
        ),
    }
}

/// One request.
pub(super) async fn ask(socket: &Path, method: &str, path: &str) -> anyhow::Result<AgentAnswer> {
    let raw = exchange(socket, method, path).await;
    let raw = raw.map_err(|error| unreachable(socket, &error))?;
    parse(&raw).ok_or_else(|| {
        anyhow::anyhow!(
            "{} gave an answer that is not certagent's",
            socket.display()
        )
    })
}

async fn exchange(socket: &Path, method: &str, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket).await?;
    // 1.0: the answer ends with the connection and is in one piece.
    let request = format!("{method} {path} HTTP/1.0\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut raw = Vec::new();
    stream.take(MAX_BODY_BYTES).read_to_end(&mut raw).await?;
    Ok(raw)
}

fn parse(raw: &[u8]) -> Option<AgentAnswer> {
    let text = std::str::from_utf8(raw).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    Some(AgentAnswer {
        status: status.parse().ok()?,
        body: body.to_owned(),
    })
}

fn unreachable(socket: &Path, error: &io::Error) -> Stopped {
    let too_long = format!(
        "a socket's path has at most {MAX_SOCKET_PATH} bytes; use one relative to the working directory"
    );
    let hint = match error.kind() {
        ErrorKind::NotFound => {
            "is the agent running, and does its status block name this socket? \
             `certagent run` makes it"
        }
        ErrorKind::ConnectionRefused => "the agent that made it is not running; start it again",
        ErrorKind::PermissionDenied => "only the agent's own user and root may use it",
        ErrorKind::InvalidInput => &too_long,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
            "only the agent's own user and root may use it; or the agent has just exited"
        }
        _ => "check the log of the agent",
    };
    Stopped {
        exit: Exit::Failure,
        message: format!("no answer at {}: {error}", socket.display()),
        hint: Some(hint.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_status_and_its_body() {
        let found = parse(b"HTTP/1.0 503 Service Unavailable\r\na: b\r\n\r\n{}\n").unwrap();
        assert_eq!((found.status, found.body.as_str()), (503, "{}\n"));
        for bad in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 x\r\n\r\n",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_explained() {
        let temp = tempfile::tempdir().unwrap();
        let gone = temp.path().join("gone.sock");
        drop(std::os::unix::net::UnixListener::bind(&gone).unwrap());
        for (path, words) in [
            (temp.path().join("none.sock"), "is the agent running"),
            (gone, "start it again"),
            (temp.path().join("x".repeat(120)), "at most 107 bytes"),
        ] {
            let error = ask(&path, "GET", "/status").await.unwrap_err();
            let stopped = error.downcast_ref::<Stopped>().unwrap();
            assert!(
                stopped.hint.as_ref().unwrap().contains(words),
                "{stopped:?}"
            );
        }
    }
}
