//! nginx of Debian: reads its files at start and at SIGHUP.

use std::{fs, path::Path, process::Command};

use rustix::process::Signal;

use super::{Authority, Family, look, on_a_free_port, target, up, verified};
use crate::rig::{Process, tool};

fn config(home: &Path, port: u16) -> String {
    let home = home.display();
    let places: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|one| format!("    {one}_temp_path {home}/{one};\n"))
        .collect();
    format!(
        "daemon off;
worker_processes 1;
pid {home}/nginx.pid;
error_log stderr info;
events {{}}
http {{
    access_log off;
{places}    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {home}/certs/cert.pem;
        ssl_certificate_key {home}/certs/key.pem;
        ssl_client_certificate {home}/certs/CA.pem;
        ssl_verify_client on;
        location / {{ return 204; }}
    }}
}}
"
    )
}

#[test]
#[ignore = "needs nginx"]
fn nginx_serves_the_old_certificate_until_its_signal_and_then_the_new_one() {
    let program = tool("nginx");
    let home = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let certs = home.path().join("certs");
    let old = authority.publish(&certs, None);
    let (family, target) = on_a_free_port(|port| {
        let file = home.path().join("nginx.conf");
        fs::write(&file, config(home.path(), port)).unwrap();
        let mut command = Command::new(&program);
        command.arg("-p").arg(home.path()).arg("-c").arg(&file);
        command.args(["-e", "stderr"]);
        let mut family = Family {
            process: Process::start(&mut command),
            goodbye: Signal::TERM,
        };
        let target = target(&format!("127.0.0.1:{port}"));
        up(&mut family.process, &target, &old)?;
        Ok((family, target))
    });
    assert_eq!(look(&target, &old).1, Ok(()), "{}", family.process.output());
    let new = authority.publish(&certs, None);
    assert_eq!(look(&target, &new).1, Err("serves-other"));
    family.process.signal(Signal::HUP);
    verified(&target, &new);
}
