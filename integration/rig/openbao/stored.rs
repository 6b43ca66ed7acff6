//! A real OpenBao that keeps its data on disk, so that it can be stopped and started again.
//!
//! Never shared. What stays true: it has the same address, root token and unseal key over restarts.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::json;

use super::{OpenBao, PATIENCE, Process, Product, free_ports};
use crate::rig::wait_for;

/// The server, and the key that unseals it.
pub(crate) struct Stored {
    pub(crate) server: OpenBao,
    program: PathBuf,
    key: String,
}

impl Stored {
    /// Starts one, initialises and unseals it.
    pub(crate) fn start() -> Self {
        let program = Product::tested().program();
        let home = tempfile::tempdir().unwrap();
        let (port, cluster) = free_ports();
        std::fs::create_dir(home.path().join("data")).unwrap();
        let address = format!("http://127.0.0.1:{port}");
        let config = format!(
            "storage \"raft\" {{\n  path = \"{}\"\n  node_id = \"one\"\n}}\n\
             listener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  \
             cluster_address = \"127.0.0.1:{cluster}\"\n  tls_disable = true\n}}\n\
             api_addr = \"{address}\"\ncluster_addr = \"http://127.0.0.1:{cluster}\"\n",
            home.path().join("data").display()
        );
        std::fs::write(home.path().join("server.hcl"), config).unwrap();
        let mut server = OpenBao {
            address,
            token: String::new(),
            process: launch(&program, home.path()),
            home,
            tls: false,
        };
        wait_for("an answer of OpenBao", PATIENCE, || status(&server));
        let shares = json!({ "secret_shares": 1, "secret_threshold": 1 });
        let made = server.request_as("", "POST", "sys/init", Some(&shares));
        assert_eq!(made.status, 200, "{}", made.text);
        let made = made.json();
        made["root_token"]
            .as_str()
            .unwrap()
            .clone_into(&mut server.token);
        let key = made["keys"][0].as_str().unwrap().to_owned();
        let stored = Self {
            server,
            program,
            key,
        };
        stored.unseal();
        stored.wait_until_active();
        stored
    }

    /// Ends the process; its data stay.
    pub(crate) fn stop(&mut self) {
        self.server.process.signal(Signal::TERM);
        self.server.process.wait(PATIENCE);
    }

    /// Starts it again, sealed.
    pub(crate) fn start_again(&mut self) {
        self.server.process = launch(&self.program, self.server.home.path());
        wait_for("an answer of OpenBao", PATIENCE, || status(&self.server));
    }

    /// Gives it its key.
    pub(crate) fn unseal(&self) {
        let body = json!({ "key": self.key });
        let answer = self
            .server
            .request_as("", "POST", "sys/unseal", Some(&body));
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    /// Returns when it says that it is active.
    pub(crate) fn wait_until_active(&self) {
        wait_for("an active OpenBao", PATIENCE, || {
            (status(&self.server) == Some(200)).then_some(())
        });
    }
}

fn launch(program: &Path, home: &Path) -> Process {
    let mut command = Command::new(program);
    command
        .arg("server")
        .arg(format!("-config={}", home.join("server.hcl").display()))
        .env_clear()
        .env("HOME", home);
    Process::start(&mut command)
}

fn status(server: &OpenBao) -> Option<u16> {
    let answer = server.try_request("", "GET", "/v1/sys/health", None);
    std::thread::sleep(Duration::from_millis(20));
    Some(answer.ok()?.status)
}
