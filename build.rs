//! Link settings of the release binary: no unwind tables, packed relocations.
//!
//! Never generates code. A release build aborts on a panic and is stripped, so its unwind tables
//! (a tenth of the file) serve nobody. Relocations are packed (DT_RELR) only where this machine's
//! own C library can read them: glibc 2.36 and later.
#![expect(
    clippy::disallowed_methods,
    reason = "a build script is told by variables and writes into OUT_DIR"
)]

use std::{env, error::Error, path::Path, process::Command};

const DISCARD: &str = "SECTIONS { /DISCARD/ : { *(.eh_frame) *(.eh_frame.*) \
    *(.gcc_except_table) *(.gcc_except_table.*) } } INSERT AFTER .text;\n";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, wanted: &str| env::var(name).is_ok_and(|value| value == wanted);
    if !is("PROFILE", "release") || !is("CARGO_CFG_TARGET_OS", "linux") {
        return Ok(());
    }
    let script = Path::new(&env::var("OUT_DIR")?).join("discard.ld");
    std::fs::write(&script, DISCARD)?;
    println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", script.display());
    println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
    if env::var("HOST")? == env::var("TARGET")? && packed_relocations_work() {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    Ok(())
}

/// `getconf GNU_LIBC_VERSION` says `glibc 2.36`.
fn packed_relocations_work() -> bool {
    let answer = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let text = answer.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    );
    let version = text
        .trim()
        .strip_prefix("glibc ")
        .and_then(|version| version.split_once('.'));
    version.is_some_and(|(major, minor)| {
        let number = |text: &str| text.split('.').next().and_then(|first| first.parse().ok());
        (number(major), number(minor)) >= (Some(2), Some(36_u32))
    })
}
