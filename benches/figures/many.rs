//! A thousand certificates in one process, against a bare loop of the same requests.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    idle,
    rig::{self, OpenBao, Process},
    table::{Figure, Goal},
};

const COUNT: usize = 1000;
/// Connections of the bare loop; more do not make the server faster on a small machine.
const CONNECTIONS: usize = 4;

/// Issues on one kept connection, and throws the answers away.
fn issue(server: &OpenBao, token: &str, count: usize) {
    let host = server.address.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    for number in 0..count {
        let body = json!({
            "common_name": format!("loki-{number}.service.consul"), "ip_sans": "10.0.0.1", "ttl": 864_000,
            "format": "pem", "private_key_format": "pkcs8", "key_type": "ec", "key_bits": 256,
        })
        .to_string();
        let request = format!(
            "POST /v1/pki/issue/internal HTTP/1.1\r\nHost: {host}\r\nX-Vault-Token: {token}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        assert_eq!(read_answer(&mut answers), 200);
    }
}

/// Reads one answer to its end and returns the status.
fn read_answer(answers: &mut BufReader<TcpStream>) -> u16 {
    let (mut status, mut length, mut chunked) = (0, 0, false);
    loop {
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if line.starts_with("http/") {
            status = line.split(' ').nth(1).unwrap().parse().unwrap();
        } else if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        } else if line == "transfer-encoding: chunked" {
            chunked = true;
        }
    }
    if !chunked {
        answers.read_exact(&mut vec![0; length]).unwrap();
        return status;
    }
    loop {
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        let length = usize::from_str_radix(line.trim_end(), 16).unwrap();
        answers.read_exact(&mut vec![0; length + 2]).unwrap();
        if length == 0 {
            return status;
        }
    }
}

fn bare_loop(server: &OpenBao, token: &str) -> Duration {
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| issue(server, token, COUNT / CONNECTIONS));
        }
    });
    began.elapsed()
}

fn config(dir: &Path) -> String {
    let mut text = String::from("log {\n  level = \"warn\"\n}\n");
    for number in 0..COUNT {
        text.push_str(&format!(
            "certificate \"c{number}\" {{\n  common_name = \"loki-{number}.service.consul\"\n  ip_sans = [\"10.0.0.1\"]\n  dir = {:?}\n}}\n",
            dir.join(format!("c{number}"))
        ));
    }
    text
}

pub(crate) fn figures() -> Vec<Figure> {
    let server = OpenBao::ready();
    let token = server.new_token("24h");
    issue(&server, &token, 50);
    let bare = bare_loop(&server, &token);

    let dir = rig::memory_dir();
    let file = dir.path().join("many.hcl");
    std::fs::write(&file, config(dir.path())).unwrap();
    let mut command = rig::certagent(["run", "-c"]);
    command
        .arg(&file)
        .env("VAULT_ADDR", &server.address)
        .env("VAULT_TOKEN", &token);
    let began = Instant::now();
    let process = Process::start(&mut command);
    let mut open: Vec<usize> = (0..COUNT).collect();
    rig::wait_for("1,000 published sets", rig::PATIENCE * 10, || {
        // From the end, so that a look costs next to nothing: the machine is to work for the agent.
        while let Some(number) = open.last()
            && dir.path().join(format!("c{number}/key.pem")).exists()
        {
            open.pop();
        }
        open.is_empty().then_some(())
    });
    let took = began.elapsed();
    std::thread::sleep(Duration::from_secs(3));
    let peak = idle::memory(process.pid(), "VmHWM") / 1024.0;
    vec![
        Figure {
            name: "1,000 certificates: peak resident memory",
            unit: "MiB",
            ours: peak,
            other: None,
            goal: Goal::AtMost(40.0),
        },
        Figure {
            name: "1,000 certificates: time until all are published (bare loop of requests)",
            unit: "s",
            ours: took.as_secs_f64(),
            other: Some(bare.as_secs_f64()),
            goal: Goal::ShareOfOther(1.8),
        },
    ]
}
