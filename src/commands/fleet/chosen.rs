//! What the operator has chosen, as arguments of a command that is printed.
//!
//! Never decides. What stays true: what comes out may be pasted into a shell.

use crate::cli::{CaSelection, DEFAULT_MOUNT, DEFAULT_SERVICE, FindArgs};

/// Which agents.
pub(super) fn agents(args: &FindArgs) -> String {
    let service = Some(args.service.as_str()).filter(|name| *name != DEFAULT_SERVICE);
    [
        option("--target", Some(&args.target.join(","))),
        if args.nomad { " --nomad" } else { "" }.to_owned(),
        option("--service", service),
        option("--component", Some(&args.component.join(","))),
    ]
    .concat()
}

/// Which change.
pub(super) fn change(args: &CaSelection) -> String {
    let mount = Some(args.mount.as_str()).filter(|path| *path != DEFAULT_MOUNT);
    let loaded = if args.assume_loaded {
        " --assume-loaded"
    } else {
        ""
    };
    [
        option("--mount", mount),
        option("--to", args.to.as_deref()),
        option("--from", args.from.as_deref()),
        loaded.to_owned(),
    ]
    .concat()
}

fn option(name: &str, value: Option<&str>) -> String {
    value
        .filter(|text| !text.is_empty())
        .map_or_else(String::new, |text| format!(" {name} {}", quoted(text)))
}

/// A word for a shell (POSIX, 2.2.2 "Single-Quotes").
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:,/".contains(&byte);
    if word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command, FleetCommand};
    use clap::Parser as _;

    #[test]
    fn the_choice_is_said_again_and_the_usual_is_not() {
        let said = |words: &[&str]| {
            let all = [&["certagent", "fleet", "ca"], words].concat();
            let Command::Fleet(fleet) = Cli::try_parse_from(all).unwrap().command else {
                panic!("another command");
            };
            let Some(FleetCommand::Ca(ca)) = fleet.command else {
                panic!("another command");
            };
            agents(&fleet.find) + &change(&ca.selection)
        };
        assert_eq!(said(&[]), "");
        assert_eq!(
            said(&[
                "--target",
                "a:1,[::1]:2",
                "--from",
                "3f9a0c11",
                "--mount",
                "it's"
            ]),
            r" --target 'a:1,[::1]:2' --mount 'it'\''s' --from 3f9a0c11"
        );
        let nomad = ["--nomad", "--service", "x", "--to", "ab", "--assume-loaded"];
        assert_eq!(said(&nomad), " --nomad --service x --to ab --assume-loaded");
    }
}
