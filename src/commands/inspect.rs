//! `certagent inspect`: what is in a certificate directory or a PEM file, and whether it is good.
//!
//! Never changes anything, asks no server, and shows no key. What stays true: a set that `run` would
//! reuse is good here, and every other one says why not.

mod report;
mod text;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use report::{Inspection, Verdict};
use rustix::fs::FileType;

use super::Stopped;
use crate::{
    cli::{InspectArgs, OutputFormat},
    clock::{Clock, SystemClock},
    config::Environment,
    disk::{self, PathFault, PathRefusal},
    exit::Exit,
    model::{duration, record::Record, secret::Secret, verify::Verified},
    terminal::Screen,
};

/// No certificate file comes near this.
const MAX_FILE_BYTES: u64 = 4 << 20;

pub(super) fn run(args: &InspectArgs, environment: &Environment) -> anyhow::Result<Exit> {
    let path = args.path.clone().unwrap_or_else(|| usual(environment));
    let report = inspect(&path, &SystemClock)?;
    if args.output == OutputFormat::Json {
        super::print_json(&report)?;
    } else {
        let screen = Screen::stdout(|name| environment.get(name).map(String::as_str));
        super::print(&text::render(&report, screen))?;
    }
    let exit = exit(&report, args.expires_in);
    if let (Exit::Failure, Some(within), OutputFormat::Text) = (exit, args.expires_in, args.output)
    {
        super::print(&format!("  expires within {}\n", duration::print(within)))?;
    }
    Ok(exit)
}

fn exit(report: &Inspection, expires_in: Option<Duration>) -> Exit {
    let ends = report.certificates.iter().map(|it| it.seconds_left).min();
    match (report.verdict, expires_in.zip(ends)) {
        (Verdict::Invalid, _) => Exit::Refused,
        (_, Some((within, left))) if left <= within.as_secs() => Exit::Failure,
        _ => Exit::Done,
    }
}

/// Where `run` would publish with no more said.
pub(super) fn usual(environment: &Environment) -> PathBuf {
    let set = |name: &str| environment.get(name).filter(|text| !text.is_empty());
    match (set("CERTAGENT_DIR"), set("NOMAD_SECRETS_DIR")) {
        (Some(dir), _) => PathBuf::from(dir),
        (None, Some(secrets)) => Path::new(secrets).join("certs"),
        (None, None) => PathBuf::from("secrets/certs"),
    }
}

fn inspect(path: &Path, clock: &dyn Clock) -> anyhow::Result<Inspection> {
    let (kind, _) = disk::look(path).map_err(|error| unreadable(path, &error))?;
    if kind != FileType::Directory {
        let bytes = read(path)?;
        return Ok(report::of_file(path, &bytes, clock.now()));
    }
    // Resolved once: a publication in between must not show a mix of two sets.
    let data = path.join("..data");
    let (base, generation) = match disk::link_at(&data) {
        Ok(target) => (path.join(&target), Some(target.display().to_string())),
        Err(_) => (path.to_owned(), None),
    };
    let cert = text_of(&base.join("cert.pem"))?;
    let set = report::SetTexts {
        ca: text_of(&base.join("CA.pem")).map_err(|error| error.to_string()),
        key: text_of(&base.join("key.pem"))
            .map(Secret::new)
            .map_err(|error| error.to_string()),
        cert,
        state: read(&path.join("..state.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok()),
        generation: generation.map(|name| name.trim_start_matches("..gen-").to_owned()),
    };
    Ok(report::of_set(path, &set, clock.now()))
}

/// The report on a set in memory, for people.
pub(super) fn shown(name: &Path, set: &Verified, screen: Screen) -> String {
    text::render(&of_verified(name, set), screen)
}

/// The report on a set in memory, as JSON; no key in it.
pub(super) fn as_json(name: &Path, set: &Verified) -> serde_json::Result<serde_json::Value> {
    serde_json::to_value(of_verified(name, set))
}

fn of_verified(name: &Path, set: &Verified) -> Inspection {
    let texts = report::SetTexts {
        ca: Ok(set.ca_pem().to_owned()),
        key: Ok(set.key_pem().clone()),
        cert: set.cert_pem().to_owned(),
        state: None,
        generation: None,
    };
    report::of_set(name, &texts, SystemClock.now())
}

/// A file as text.
///
/// # Errors
/// It can't be read, is far too large, or is no text.
pub(super) fn text_of(path: &Path) -> Result<String, Stopped> {
    String::from_utf8(read(path)?).map_err(|_| Stopped {
        exit: Exit::Refused,
        message: format!("{} is not text, and so not PEM", path.display()),
        hint: None,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Stopped> {
    match disk::read(path, MAX_FILE_BYTES) {
        Ok(mut found) => Ok(std::mem::take(&mut *found.bytes)),
        Err(PathRefusal {
            reason: PathFault::Io(_, error),
            ..
        }) => Err(unreadable(path, &error)),
        Err(refusal) => Err(Stopped {
            exit: Exit::Refused,
            message: refusal.to_string(),
            hint: Some("this is no file with certificates".to_owned()),
        }),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Stopped {
    Stopped {
        exit: Exit::Failure,
        message: format!("cannot read {}: {error}", path.display()),
        hint: Some(
            "name the certificate directory or a PEM file, and run as a user that may read it"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests;
