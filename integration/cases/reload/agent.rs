//! A real Nomad in development mode on free ports: ACLs on, raw_exec, and a job with three tasks.
//!
//! Never shared. What stays true: at its end the job is stopped first, so that no task is left.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::rig::{PATIENCE, Process, http, tool, wait_for};

/// The task that is told.
pub(crate) const TASK: &str = "app";
/// The task whose identity is used.
const SIDECAR: &str = "agent";
const JOB: &str = "tell";
const GROUP: &str = "group";
/// A token with all rights.
pub(crate) const ROOT: &str = "5e1f0d0a-0000-4000-8000-000000000002";

/// The allocation of the job.
pub(crate) struct Allocation {
    pub(crate) id: String,
    /// Secrets directory of the sidecar.
    pub(crate) secrets: PathBuf,
    /// What the application writes: `start`, `usr1`.
    pub(crate) log: PathBuf,
}

/// The running agent.
pub(crate) struct NomadAgent {
    /// `http://127.0.0.1:port`
    pub(crate) address: String,
    pub(crate) home: TempDir,
    process: Process,
}

impl NomadAgent {
    pub(crate) fn start() -> Self {
        let program = tool("nomad");
        // Short: the path of api.sock has at most 107 bytes.
        let home = tempfile::Builder::new()
            .prefix("n")
            .tempdir_in("/tmp")
            .unwrap();
        let ports: Vec<u16> = {
            let listeners: Vec<_> = (0..3)
                .map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap())
                .collect();
            let port = |one: &std::net::TcpListener| one.local_addr().unwrap().port();
            listeners.iter().map(port).collect()
        };
        let config = format!(
            r#"
            bind_addr = "127.0.0.1"
            log_level = "warn"
            disable_update_check = true
            ports {{ http = {} rpc = {} serf = {} }}
            ui {{ enabled = false }}
            acl {{ enabled = true }}
            client {{
              network_interface = "lo"
              cpu_total_compute = 4000
              options {{
                "driver.allowlist" = "raw_exec"
                "fingerprint.denylist" = "env_aws,env_azure,env_gce,env_digitalocean"
              }}
            }}
            consul {{ auto_advertise = false server_auto_join = false client_auto_join = false }}
            "#,
            ports[0], ports[1], ports[2]
        );
        let file = home.path().join("nomad.hcl");
        std::fs::write(&file, config).unwrap();
        let process = Process::start(
            Command::new(program)
                .args(["agent", "-dev"])
                .arg(format!("-config={}", file.display()))
                .env_clear()
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
                .env("HOME", home.path())
                .env("TMPDIR", home.path()),
        );
        let mut agent = Self {
            address: format!("http://127.0.0.1:{}", ports[0]),
            home,
            process,
        };
        wait_for("Nomad", 2 * PATIENCE, || {
            assert!(
                agent.process.ended().is_none(),
                "{}",
                agent.process.output()
            );
            agent.is_ready().then_some(())
        });
        agent
    }

    fn try_call(&self, method: &str, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        let headers = [
            ("X-Nomad-Token", ROOT),
            ("Content-Type", "application/json"),
        ];
        let path = format!("/v1/{path}");
        let answer = http::request(&self.address, None, method, &path, &headers, body).ok()?;
        Some((answer.status, answer.json()))
    }

    pub(crate) fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.try_call(method, path, body).unwrap();
        assert_eq!(
            status,
            200,
            "{method} {path}: {answer}\n{}",
            self.process.output()
        );
        answer
    }

    fn is_ready(&self) -> bool {
        let leader = self.try_call("GET", "status/leader", None);
        let led =
            leader.is_some_and(|(_, name)| name.as_str().is_some_and(|name| !name.is_empty()));
        if !led {
            return false;
        }
        self.try_call(
            "PUT",
            "acl/bootstrap",
            Some(&json!({ "BootstrapSecret": ROOT })),
        );
        let Some((200, nodes)) = self.try_call("GET", "nodes", None) else {
            return false;
        };
        nodes[0]["Status"] == "ready" && nodes[0]["Drivers"]["raw_exec"]["Healthy"] == true
    }

    /// Nomad's own program, as an operator of this agent.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(tool("nomad"));
        command.args(arguments).env_clear();
        command
            .env("NOMAD_ADDR", &self.address)
            .env("NOMAD_TOKEN", ROOT);
        command
    }

    /// Gives the rules to one task.
    pub(crate) fn grant(&self, rules: &str, job: &str, group: &str, task: &str) {
        let name = format!("{job}-{group}");
        let policy = json!({
            "Name": name, "Rules": rules,
            "JobACL": { "Namespace": "default", "JobID": job, "Group": group, "Task": task },
        });
        self.call("PUT", &format!("acl/policy/{name}"), Some(&policy));
    }

    /// The sidecar may do what it needs.
    pub(crate) fn allow(&self) {
        let rules = r#"namespace "default" {
            capabilities = ["alloc-lifecycle"]
            variables { path "nomad/jobs/tell/*" { capabilities = ["read", "write"] } }
        }"#;
        self.grant(rules, JOB, GROUP, SIDECAR);
    }

    /// Starts a job and waits until these tasks of its allocation run: its id and its directory.
    pub(crate) fn run(&self, job: &Value, tasks: &[&str]) -> (String, PathBuf) {
        self.call("PUT", "jobs", Some(&json!({ "Job": job })));
        let path = format!("job/{}/allocations", job["ID"].as_str().unwrap());
        let id = wait_for("the job to run", 2 * PATIENCE, || {
            let one = &self.call("GET", &path, None)[0];
            let runs = |task: &&str| one["TaskStates"][task]["State"] == "running";
            let all = tasks.iter().all(runs);
            all.then(|| one["ID"].as_str().unwrap().to_owned())
        });
        let client = std::fs::read_dir(self.home.path()).unwrap();
        let dir = client
            .map(|entry| entry.unwrap().path().join(&id))
            .find(|path| path.is_dir());
        (id, dir.expect("the allocation has a directory"))
    }

    /// Starts the job and waits until the application runs.
    pub(crate) fn run_job(&self) -> Allocation {
        let script = "trap 'echo usr1 >> $NOMAD_ALLOC_DIR/log' USR1; echo start >> $NOMAD_ALLOC_DIR/log; \
                      while :; do sleep 0.1; done";
        let task = |name: &str, command: &str, arguments: &[&str]| {
            json!({
                "Name": name, "Driver": "raw_exec",
                "Config": { "command": command, "args": arguments },
                "Identity": { "Name": "default", "File": true },
                "KillTimeout": Duration::from_secs(2).as_nanos() as u64,
                "Resources": { "CPU": 50, "MemoryMB": 32 },
            })
        };
        let mut once = task("once", "/bin/true", &[]);
        once["Lifecycle"] = json!({ "Hook": "prestart", "Sidecar": false });
        let job = json!({
            "ID": JOB, "Name": JOB, "Type": "service", "Datacenters": ["*"],
            "TaskGroups": [{
                "Name": GROUP, "Count": 1,
                "Tasks": [once, task(TASK, "/bin/sh", &["-c", script]), task(SIDECAR, "/bin/sleep", &["3600"])],
            }],
        });
        let (id, dir) = self.run(&job, &[TASK, SIDECAR]);
        Allocation {
            secrets: dir.join(SIDECAR).join("secrets"),
            log: dir.join("alloc/log"),
            id,
        }
    }

    /// Starts a job that only registers services with Nomad: a group, its port, their names.
    pub(crate) fn run_services(&self, groups: &[(&str, u16, &[&str])]) {
        let group = |(name, port, services): &(&str, u16, &[&str])| {
            let service =
                |name: &&str| json!({ "Name": name, "Provider": "nomad", "PortLabel": "at" });
            json!({
                "Name": name, "Count": 1,
                "Networks": [{ "ReservedPorts": [{ "Label": "at", "Value": port }] }],
                "Services": services.iter().map(service).collect::<Vec<_>>(),
                "Tasks": [{
                    "Name": "waits", "Driver": "raw_exec",
                    "Config": { "command": "/bin/sleep", "args": ["3600"] },
                    "Resources": { "CPU": 50, "MemoryMB": 32 },
                }],
            })
        };
        let groups: Vec<Value> = groups.iter().map(group).collect();
        let job = json!({ "Job": {
            "ID": JOB, "Name": JOB, "Type": "service", "Datacenters": ["*"], "TaskGroups": groups,
        }});
        self.call("PUT", "jobs", Some(&job));
    }

    /// Stops the job and waits until its allocation has ended.
    pub(crate) fn stop_job(&self, allocation: &str) {
        self.call("DELETE", &format!("job/{JOB}"), None);
        let path = format!("allocation/{allocation}");
        wait_for("the job to end", PATIENCE, || {
            (self.call("GET", &path, None)["ClientStatus"] == "complete").then_some(())
        });
    }
}

impl Drop for NomadAgent {
    fn drop(&mut self) {
        let jobs = self.try_call("GET", "jobs", None).map(|(_, jobs)| jobs);
        for job in jobs.iter().filter_map(Value::as_array).flatten() {
            let id = job["ID"].as_str().unwrap_or_default();
            let _ = self.try_call("DELETE", &format!("job/{id}?purge=true"), None);
        }
        if self.process.ended().is_none() {
            self.settle(|agent| agent.has_no_running_allocation());
            // In development mode a clean end destroys what is left of the allocations.
            self.process.signal(Signal::INT);
            self.settle(|agent| agent.process.ended().is_some());
        }
        self.end_what_is_left();
    }
}

/// How it ends: nothing here fails a test that has failed or passed already.
impl NomadAgent {
    fn settle(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let began = std::time::Instant::now();
        while !done(self) && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn has_no_running_allocation(&mut self) -> bool {
        let Some((200, Value::Array(all))) = self.try_call("GET", "allocations", None) else {
            return self.process.ended().is_some();
        };
        all.iter()
            .all(|one| !matches!(one["ClientStatus"].as_str(), Some("pending" | "running")))
    }

    /// Executors and log collectors outlive Nomad, so that a new agent can take its tasks over; no
    /// new one comes. First by TERM, as an executor ends its task then; what is left by KILL.
    fn end_what_is_left(&self) {
        for signal in [Signal::TERM, Signal::KILL] {
            for pid in of_home(self.home.path()) {
                let _ = rustix::process::kill_process(pid, signal);
            }
            let began = std::time::Instant::now();
            while !of_home(self.home.path()).is_empty() && began.elapsed() < PATIENCE / 6 {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        for mount in mounts(self.home.path()) {
            let _ = Command::new("umount").arg("--lazy").arg(mount).status();
        }
    }
}

/// The secrets directories of one agent that are still mounted.
fn mounts(home: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let places = all.lines().filter_map(|line| line.split(' ').nth(1));
    places
        .map(PathBuf::from)
        .filter(|place| place.starts_with(home))
        .collect()
}

/// The processes of one agent, besides itself: what it starts has its directory in its command line
/// (executors) or in its environment (log collectors and tasks). None of another test has that.
fn of_home(home: &Path) -> Vec<rustix::process::Pid> {
    let home = home.to_str().unwrap();
    let ours = |entry: &std::fs::DirEntry| {
        let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
        [read("cmdline"), read("environ")]
            .iter()
            .any(|text| String::from_utf8_lossy(text).contains(home))
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(ours)
        .filter_map(|entry| {
            rustix::process::Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)
        })
        .collect()
}

/// A Nomad that is killed leaves executors, log collectors and tasks behind; its owner does not.
#[test]
#[ignore = "needs nomad"]
fn nothing_of_a_killed_nomad_is_left() {
    let mut nomad = NomadAgent::start();
    nomad.allow();
    let allocation = nomad.run_job();
    assert!(allocation.log.exists());
    let home = nomad.home.path().to_owned();
    nomad.process.signal(Signal::KILL);
    nomad.process.wait(PATIENCE);
    let left = of_home(&home).len();
    assert!(left >= 4, "two executors and two log collectors: {left}");
    drop(nomad);
    assert_eq!(of_home(&home), []);
    assert_eq!(mounts(&home), [] as [PathBuf; 0]);
    assert!(!home.exists(), "{} is left", home.display());
}
