//! The embedded PKI on a thread of its own; ends when dropped.
//!
//! Never shared between tests.

use std::{sync::mpsc, thread};

use certagent::dev::{DevOptions, DevServer};
use tokio_util::sync::CancellationToken;

/// A running embedded PKI.
pub(crate) struct Embedded {
    /// `http://127.0.0.1:port`.
    pub(crate) address: String,
    /// The root token.
    pub(crate) token: String,
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
                let server = DevServer::bind("127.0.0.1:0", DevOptions::default())
                    .await
                    .unwrap();
                let token = server.root_token().expose().to_owned();
                send.send((server.url(), token)).unwrap();
                server.run(stopped).await.unwrap();
            });
        });
        let (address, token) = receive.recv().unwrap();
        Self {
            address,
            token,
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
