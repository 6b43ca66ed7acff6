//! The two servers, and one plain HTTP client for both.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use certagent::{
    dev::{DevOptions, DevServer},
    model::secret::Secret,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::cases::Case;

/// An answer, and when it came (seconds since the epoch).
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) text: String,
    pub(super) json: Value,
    pub(super) at: i64,
}

/// Where to send requests.
pub(super) struct Target {
    host: String,
    pub(super) root: String,
}

impl Target {
    pub(super) fn new(address: &str, root: &str) -> Self {
        Self {
            host: address.trim_start_matches("http://").to_owned(),
            root: root.to_owned(),
        }
    }

    pub(super) fn send(&self, case: &Case, saved: &BTreeMap<String, String>) -> Answer {
        let fill = |text: &str| {
            saved.iter().fold(text.to_owned(), |text, (name, value)| {
                text.replace(&format!("{{{{{name}}}}}"), value)
            })
        };
        // A value with line ends goes into a JSON string: escape it as JSON does.
        let fill_json = |text: &str| {
            saved.iter().fold(text.to_owned(), |text, (name, value)| {
                let escaped = Value::from(value.as_str()).to_string();
                text.replace(&format!("{{{{{name}}}}}"), &escaped[1..escaped.len() - 1])
            })
        };
        let body = fill_json(&case.body);
        let mut head = format!("{} /v1/{} HTTP/1.0\r\n", case.method, fill(&case.path));
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        if !case.token.is_empty() {
            head.push_str(&format!("X-Vault-Token: {}\r\n", fill(case.token)));
        }
        for (name, value) in &case.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let raw = self
            .exchange(&format!("{head}\r\n{body}"))
            .unwrap_or_else(|error| panic!("{}: {error}", case.name));
        parse(&raw)
    }

    fn exchange(&self, request: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(&self.host)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(request.as_bytes())?;
        let mut raw = Vec::new();
        stream.read_to_end(&mut raw)?;
        Ok(String::from_utf8_lossy(&raw).into_owned())
    }
}

fn parse(raw: &str) -> Answer {
    let (head, text) = raw.split_once("\r\n\r\n").expect("an HTTP answer");
    let content_type = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        .map_or("", |(_, value)| value.trim());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Answer {
        status: head[9..12].parse().expect("a status"),
        content_type: content_type.to_owned(),
        json: serde_json::from_str(text).unwrap_or(Value::Null),
        text: text.to_owned(),
        at: i64::try_from(now.expect("after 1970").as_secs()).expect("a time"),
    }
}

/// An embedded PKI on a thread of its own, empty as a fresh OpenBao is.
pub(super) struct Embedded {
    pub(super) target: Target,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Embedded {
    pub(super) fn start() -> Self {
        let stop = CancellationToken::new();
        let (tell, told) = std::sync::mpsc::channel();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let options = DevOptions {
                    root_token: Some(Secret::new("root-of-embedded".to_owned())),
                    seeded: false,
                    ..DevOptions::default()
                };
                let server = DevServer::bind("127.0.0.1:0", options).await.unwrap();
                tell.send(Target::new(&server.url(), server.root_token().expose()))
                    .unwrap();
                server.run(stopped).await.unwrap();
            });
        });
        Self {
            target: told.recv().expect("the embedded PKI started"),
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
