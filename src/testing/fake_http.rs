//! An HTTP server that answers as a test says, over TCP or a unix socket, and writes down what came.
//!
//! Never keeps a connection. What stays true: what is in `seen` was read whole before the answer.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, UnixListener},
    task::JoinSet,
};

/// What to answer to a request line and its body.
pub(crate) type Answers = Arc<dyn Fn(&str) -> Reply + Send + Sync>;

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) head: String,
    pub(crate) after: Duration,
}

impl Reply {
    pub(crate) fn new(status: u16, body: &str) -> Self {
        Self {
            status,
            body: body.to_owned(),
            head: String::new(),
            after: Duration::ZERO,
        }
    }
}

/// The running server; ends when dropped.
pub(crate) struct FakeHttp {
    /// `http://127.0.0.1:port`; empty for a unix socket.
    pub(crate) address: String,
    seen: Arc<Mutex<Vec<String>>>,
    _task: JoinSet<()>,
}

impl FakeHttp {
    pub(crate) async fn tcp(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (seen, mut task) = (Arc::default(), JoinSet::new());
        let log = Arc::clone(&seen);
        task.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                serve(stream, &answers, &log).await;
            }
        });
        Self {
            address,
            seen,
            _task: task,
        }
    }

    pub(crate) fn unix(path: &Path, answers: Answers) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let (seen, mut task) = (Arc::default(), JoinSet::new());
        let log = Arc::clone(&seen);
        task.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                serve(stream, &answers, &log).await;
            }
        });
        Self {
            address: String::new(),
            seen,
            _task: task,
        }
    }

    /// Every request so far, head and body.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answers: &Answers,
    log: &Mutex<Vec<String>>,
) {
    let mut raw = Vec::new();
    while !whole(&raw) {
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(count @ 1..) => raw.extend_from_slice(&chunk[..count]),
            _ => return,
        }
    }
    let request = String::from_utf8_lossy(&raw).into_owned();
    log.lock().unwrap().push(request.clone());
    let reply = answers(&request);
    tokio::time::sleep(reply.after).await;
    let text = format!(
        "HTTP/1.1 {} X\r\n{}Content-Length: {}\r\nConnection: close\r\n\r\n{}",
        reply.status,
        reply.head,
        reply.body.len(),
        reply.body
    );
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn whole(raw: &[u8]) -> bool {
    let text = String::from_utf8_lossy(raw);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0);
    body.len() >= length
}
