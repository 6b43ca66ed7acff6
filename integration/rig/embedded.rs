//! The embedded PKI on a thread of its own; ends when dropped.
//!
//! Never shared between tests.

use std::{sync::mpsc, thread};

use certagent_dev::{DevServer, Workload};
use tokio_util::sync::CancellationToken;

/// A running embedded PKI.
pub(crate) struct Embedded {
    /// `http://127.0.0.1:port`.
    pub(crate) address: String,
    /// The root token.
    pub(crate) token: String,
    /// Who signs the JWTs that its login takes.
    pub(crate) workload: Workload,
    stop: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

impl Embedded {
    /// Starts one on a free port.
    pub(crate) fn start() -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let (send, receive) = mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                let server = DevServer::bind("127.0.0.1:0").await.unwrap();
                let token = server.root_token().expose().to_owned();
                let workload = server.workload().clone();
                send.send((server.url(), token, workload)).unwrap();
                server.run(stopped).await.unwrap();
            });
        });
        let (address, token, workload) = receive.recv().unwrap();
        Self {
            address,
            token,
            workload,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.stop.cancel();
        drop(self.thread.take().map(thread::JoinHandle::join));
    }
}
