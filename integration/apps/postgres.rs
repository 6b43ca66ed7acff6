//! PostgreSQL of Debian: STARTTLS in its own way, reads its files at start and at SIGHUP, sends no
//! session ticket, so that only its answer to our goodbye tells that it accepts us.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::Command,
};

use certagent::{config::StartTls, model::served::Accepted};
use rustix::process::Signal;

use super::{Authority, Family, look, on_a_free_port, target, up, verified};
use crate::rig::{Process, tool};

/// It refuses to run as root: the user of its package then, and whose files these are.
pub(crate) fn postgres_user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let mut users = users
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let user = users.find(|user| user[0] == "postgres").unwrap();
    Some((user[2].parse().unwrap(), user[3].parse().unwrap()))
}

fn command(program: &Path, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C").current_dir("/");
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}

fn server(program: &Path, home: &Path, port: u16, user: Option<(u32, u32)>) -> Process {
    let certs = home.join("certs");
    let mut command = command(program, user);
    command.arg("-D").arg(home.join("data"));
    for (name, value) in [
        ("listen_addresses", "127.0.0.1".to_owned()),
        ("port", port.to_string()),
        ("unix_socket_directories", String::new()),
        ("fsync", "off".to_owned()),
        ("shared_buffers", "1MB".to_owned()),
        ("ssl", "on".to_owned()),
        ("ssl_ca_file", certs.join("CA.pem").display().to_string()),
        (
            "ssl_cert_file",
            certs.join("cert.pem").display().to_string(),
        ),
        ("ssl_key_file", certs.join("key.pem").display().to_string()),
    ] {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    Process::start(&mut command)
}

#[test]
#[ignore = "needs postgresql"]
fn postgresql_is_verified_over_starttls_and_refuses_strangers() {
    let program = tool("postgresql");
    let program = program.canonicalize().unwrap();
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let user = postgres_user();
    let authority = Authority::new();
    let certs = home.path().join("certs");
    let old = authority.publish(&certs, user);
    let data = home.path().join("data");
    fs::create_dir(&data).unwrap();
    if let Some((uid, gid)) = user {
        std::os::unix::fs::chown(&data, Some(uid), Some(gid)).unwrap();
    }
    let made = command(&program.with_file_name("initdb"), user)
        .args(["--no-sync", "--auth=trust", "--username=postgres", "-D"])
        .arg(&data)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let (family, target) = on_a_free_port(|port| {
        let mut family = Family {
            process: server(&program, home.path(), port, user),
            // Immediate shutdown.
            goodbye: Signal::QUIT,
        };
        let mut target = target(&format!("127.0.0.1:{port}"));
        target.starttls = Some(StartTls::Postgres);
        up(&mut family.process, &target, &old)?;
        Ok((family, target))
    });
    let (served, verdict) = look(&target, &old);
    assert_eq!(verdict, Ok(()), "{}", family.process.output());
    assert_eq!(served.unwrap().accepted, Accepted::Yes { sent: true });

    let new = authority.publish(&certs, user);
    assert_eq!(look(&target, &new).1, Err("serves-other"));
    family.process.signal(Signal::HUP);
    verified(&target, &new);

    // A certificate of another CA, shown by somebody who trusts this one.
    let set = Authority::new().issue();
    let stranger = new.showing(set.cert_pem(), set.key_pem()).unwrap();
    let (served, verdict) = look(&target, &stranger);
    assert_eq!(verdict, Err("client-refused"), "{served:?}");
    let mut clear = target;
    clear.starttls = None;
    assert_eq!(look(&clear, &stranger).1, Err("probe-closed"));
}
