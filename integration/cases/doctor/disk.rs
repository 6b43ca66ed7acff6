//! Seeds on the disk: mounts, modes, owners, what lies in the certificate directory.
//!
//! Mounts are real ones, in a mount namespace of the run's own.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::{Seed, bench::Bench, seed};
use crate::rig::NOBODY;

pub(super) const SEEDS: &[Seed] = &[
    seed("extra-ca-unusable", &[], |bench| {
        let path = bench.path("extra.pem");
        fs::write(&path, "-----BEGIN CERTIFICATE-----\nMIIB").unwrap();
        bench.set("CERTAGENT_EXTRA_CA", path.display());
    }),
    seed("directory-not-real", &[], |bench| {
        fs::create_dir(bench.path("secrets/real")).unwrap();
        std::os::unix::fs::symlink("real", bench.certs()).unwrap();
    }),
    seed("directory-foreign", &[], |bench| {
        make(&bench.certs(), 0o755);
        std::os::unix::fs::chown(bench.certs(), Some(10_001), Some(10_001)).unwrap();
    }),
    seed("link-foreign", &[], |bench| {
        let (shared, real) = (bench.path("shared"), bench.path("secrets/real"));
        fs::create_dir_all(&real).unwrap();
        make(&shared, 0o777);
        std::os::unix::fs::symlink(&real, shared.join("link")).unwrap();
        bench.set("CERTAGENT_DIR", shared.join("link/certs").display());
    }),
    seed("directory-not-writable", &[], |bench| {
        bench.as_nobody();
        make(&bench.certs(), 0o755);
    }),
    seed("directory-read-only", &[], |bench| {
        bench.mounted("mount -t tmpfs -o ro,mode=0750 none \"$1\"");
    }),
    // A real file system of the kernel that has neither links nor rename.
    seed("directory-no-rename", &["directory-open"], |bench| {
        bench.mounted("mount -t mqueue none \"$1\"");
    }),
    seed("disk-full", &[], |bench| {
        bench.mounted("mount -t tmpfs -o size=32k,mode=0750 none \"$1\"");
    }),
    seed("inodes-used-up", &[], |bench| {
        bench.mounted("mount -t tmpfs -o nr_inodes=5,mode=0750 none \"$1\"");
    }),
    // A container's root is recognised by the runtime's mark.
    seed("directory-in-container", &["secrets-not-tmpfs"], |bench| {
        let disk = tempfile::tempdir_in("/var/tmp").unwrap();
        bench.mounted("mount -t tmpfs none /run && touch /run/.containerenv");
        bench.set("CERTAGENT_DIR", disk.path().join("certs").display());
        bench.keep(disk);
    }),
    // On a mount of its own, since the machine of the tests may be a container.
    seed("secrets-not-tmpfs", &[], |bench| {
        let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        bench.mounted(&format!("mount --bind {} \"$1\"", disk.path().display()));
        bench.keep(disk);
    }),
    seed("directory-in-alloc", &[], |bench| {
        let shared = bench.path("secrets");
        bench.set("NOMAD_ALLOC_DIR", shared.display());
    }),
    seed("directory-open", &[], |bench| make(&bench.certs(), 0o777)),
    seed("key-open", &[], |bench| {
        bench.publish();
        let mode = fs::Permissions::from_mode(0o644);
        fs::set_permissions(bench.live("key.pem"), mode).unwrap();
    }),
    seed("owner-not-settable", &[], |bench| {
        bench.as_nobody();
        bench.set("CERTAGENT_UID", 0);
    }),
    seed("reader-shut-out", &[], |bench| {
        fs::set_permissions(bench.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        make(&bench.certs(), 0o750);
        bench.args(&["--as-user", "10001:10001"]);
    }),
    seed("leftovers", &[], |bench| {
        bench.publish();
        make(&bench.certs().join("..new"), 0o750);
    }),
    seed("files-unusable", &[], |bench| {
        bench.publish();
        let other = rcgen::KeyPair::generate().unwrap();
        fs::write(bench.live("key.pem"), other.serialize_pem()).unwrap();
    }),
    seed("ready-file-stale", &[], |bench| {
        bench.publish();
        fs::create_dir(bench.path("alloc/certagent")).unwrap();
        let ready_file = serde_json::json!({
            "serial": "0a:1b", "not_before": "2040-01-01T00:00:00Z", "not_after": "2040-02-01T00:00:00Z",
            "sha256": "00", "generation": "1", "names": [], "dir": bench.certs(),
        });
        bench.write("alloc/certagent/ready.json", &ready_file.to_string(), 0o644);
    }),
    seed("ready-file-not-writable", &[], |bench| {
        bench.as_nobody();
        let place = bench.path("alloc/certagent");
        make(&place, 0o755);
    }),
];

/// A directory of ours, with exactly this mode.
fn make(path: &Path, mode: u32) {
    fs::create_dir(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
#[ignore = "needs openbao"]
fn the_reader_is_let_in_where_owner_and_modes_allow_it() {
    let shared = super::Shared::start();
    let mut bench = Bench::new(&shared);
    bench.as_nobody();
    bench.args(&["--as-user", &NOBODY.to_string()]);
    let ran = bench.run();
    assert_eq!(ran.status("reader-shut-out"), "ok", "{}", ran.all());
}
