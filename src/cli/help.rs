//! Texts around the generated help: what it is, examples, exit codes.
//!
//! Never repeats what the table of settings says.

use crate::exit::Exit;

pub(super) const ABOUT: &str = "Fetch, verify and renew TLS certificates from Vault or OpenBao";

/// The commands, as `certagent --help` lists them.
pub(super) const GROUPS: [(&str, &[&str]); 5] = [
    ("Run", &["run", "exec", "wait"]),
    ("Look", &["status", "fleet", "inspect", "probe", "explain"]),
    ("Act", &["issue", "renew"]),
    ("Check", &["doctor", "check-config"]),
    ("Learn", &["dev", "help", "version", "completions", "man"]),
];

/// The list of commands in their groups; what this program was built without is left out.
pub(super) fn groups(command: &clap::Command) -> String {
    let mut text = String::new();
    for (heading, names) in GROUPS {
        text.push_str(&format!("\n{heading}:\n"));
        for name in names {
            if let Some(about) = command
                .find_subcommand(name)
                .and_then(clap::Command::get_about)
            {
                text.push_str(&format!("  {name:13} {about}\n"));
            }
        }
    }
    text
}

/// The table of exit codes under `certagent --help`.
pub(super) fn exit_codes() -> String {
    Exit::ALL
        .into_iter()
        .fold("Exit codes:".to_owned(), |text, exit| {
            format!("{text}\n  {}  {}", exit.code(), exit.meaning())
        })
}

/// For a command that takes every setting.
macro_rules! with_settings {
    ($text:literal) => {
        concat!("All settings: certagent help settings\n\n", $text)
    };
}

pub(super) const RUN: &str = with_settings!(
    "\
Settings come from the file, the environment and flags, each stronger than the one before.
Tokens and secret ids have no flag, because argument lists are public: use a file or a variable.

Examples:
  On Nomad, with VAULT_ADDR and a workload identity, without any file:
    certagent run
  With a file:
    certagent run -c local/certagent.hcl
  Elsewhere:
    VAULT_ADDR=https://vault.example:8200 VAULT_TOKEN=... \\
      certagent run --component ingester --ip-sans 192.0.2.7 --dir /run/certs"
);

pub(super) const EXEC: &str = with_settings!(
    "\
The command starts once every certificate is published; the startup-timeout and its exit codes are
those of `certagent run`. It finds CERTAGENT_DIR, CERTAGENT_CA_FILE, CERTAGENT_CERT_FILE and
CERTAGENT_KEY_FILE in its environment (with several certificates CERTAGENT_DIR_<NAME> and so on),
and no token of certagent.

TERM, INT, QUIT, HUP, USR1, USR2, ALRM, WINCH, CONT, TTIN and TTOU are passed on to the command; to
renew by hand use `certagent renew`. Exits with the command's exit code, 128 + n when signal n
killed it, 127 when it was not found, 126 when it could not be run. It is never restarted.

Examples:
  As the entry point of a container:
    certagent exec -- nginx -g 'daemon off;'
  With a file, and a minute for the command to finish:
    certagent exec -c local/certagent.hcl --kill-after 1m -- /bin/server --tls"
);

pub(super) const ISSUE: &str = with_settings!(
    "\
Examples:
  Show the exact request, send nothing:
    certagent issue --dry-run --component ingester
  Issue one and write the certificate files:
    certagent issue --component ingester --ip-sans 192.0.2.7 --output-dir /tmp/certs"
);

pub(super) const WAIT: &str = "\
Exits with 0 as soon as the ready file names a certificate that is still valid, with 7 after the
timeout.

Example:
  certagent wait --ready-file alloc/certagent/ready.json --timeout 4m";

pub(super) const STATUS: &str = "\
SERVING is what a probe saw last: current, old, or unknown, as always without a probe. RELOAD is n/a
where the application needs none.

Exits with 0 when every certificate is ready, with 1 when one is not or the agent does not answer.

Examples:
  In the task of the agent, on Nomad:
    certagent status --watch
  Elsewhere:
    certagent status --socket /run/certagent/status.sock -o json";

pub(super) const FLEET: &str = "\
The most urgent row is on top. An agent that does not answer is a row, and so is an application in
the catalogue that has no agent. Exits with 0 when every row is ready, else with 1. Agents have to
serve health and metrics (http.listen) where they can be reached from here.

Examples:
  Every agent that Consul knows, and one by its address:
    certagent fleet
    certagent fleet --target 10.0.0.7:9464
  What expires first, again and again:
    certagent fleet --watch --component ingester,querier
  What is served, seen from here:
    certagent fleet --probe /run/certs -o wide
  A page:
    certagent fleet --listen 127.0.0.1:9470";

pub(super) const FLEET_CA: &str = "\
Shows which instance trusts which anchor, on disk and in the running application, and whose
certificate is signed by which; then what keeps the next step back, and the commands of that step.
With --wait it exits with 0 when that holds, and with 7 when it does not in time.

Examples:
  VAULT_ADDR=https://vault.example:8200 certagent fleet ca
  certagent fleet ca --wait trusted --timeout 30m && bao write pki/config/issuers default=...";

pub(super) const FLEET_CA_ROTATE: &str = "\
Makes a new root (or takes --to), waits until every instance trusts it, makes it the default issuer,
has the certificates renewed, and removes the old root when no certificate of it is left. It
remembers nothing: end it at any moment and call it again, from any machine. When an instance
cannot follow, it stops before the step that would hurt and names it.

Examples:
  Ask before each step:
    certagent fleet ca rotate
  In a script, named so that a second call does nothing more:
    certagent fleet ca rotate --yes --from 3f9a0c11
  Back, while the old root still is an issuer:
    certagent fleet ca rotate --abort";

pub(super) const RENEW: &str = "\
Each call is one issuance request within the issuance limit; simultaneous calls share one. When it
fails, the published certificate and the time of its next renewal are unchanged. SIGUSR1 to the
agent does the same.

Examples:
  certagent renew
  certagent renew ingester --socket /run/certagent/status.sock";

pub(super) const INSPECT: &str = "\
Examples:
  certagent inspect secrets/certs
  certagent inspect -o json cert.pem
  certagent inspect --expires-in 24h secrets/certs || echo \"expires soon\"";

pub(super) const PROBE: &str = "\
Exits with 0 when the application proves the published certificate and accepts the client
certificate, with 5 when it serves another or an untrusted one, refuses the client certificate or is
not healthy, with 7 after the timeout, and with 1 when no certificate was seen. What is served is
always shown. Where no certificate files are, nothing is compared, the system's CAs are asked about
the chain, and the exit code is 5 only for a certificate that is not valid now.

Examples:
  Loki's gRPC port, as another Loki would see it:
    certagent probe 10.0.0.7:9095 --client-cert-dir secrets/certs --grpc-health
  Inside a Nomad allocation with a port called grpc:
    certagent probe --client-cert-dir secrets/certs --grpc-health
  A web server, by its name:
    certagent probe 127.0.0.1:8443 --dir /run/certs --server-name www.example
  Any server, for a script:
    certagent probe vault.example:8200 --expires-in 24h || echo \"expires soon\"
  PostgreSQL:
    certagent probe 127.0.0.1:5432 --dir /run/certs --starttls postgres -o json";

pub(super) const EXPLAIN: &str = with_settings!(
    "\
Prints every input of the next renewal time of the published certificate. In an outage the
running agent says when it tries again: it is asked at the configured status socket.

Example:
  certagent explain -c local/certagent.hcl"
);

pub(super) const CHECK_CONFIG: &str = with_settings!(
    "\
Exits with 2 when there is a problem; all of them are printed. Secrets are never shown.

Examples:
  certagent check-config -c local/certagent.hcl
  certagent check-config -o json --component ingester --ip-sans 192.0.2.7"
);

#[cfg(feature = "dev")]
pub(super) const DEV: &str = "\
Examples:
  See login, issue, publish and renew within seconds:
    certagent dev
  A test server that speaks the part of Vault's API that certagent uses:
    certagent dev --pki-only --listen 127.0.0.1:8200";

pub(super) const DOCTOR: &str = with_settings!(
    "\
Run it as the agent's user, where the agent runs: it takes the same settings. Nothing is written,
signalled or issued; one login is made and its token revoked. --test-issue requests a certificate
for each block. Exits with 2 (configuration), 3 (Vault), 4 (denied), 5 (certificate) or 6 (disk),
whichever comes first, with 1 for everything else that fails, and with 0 when there are warnings at
most.

Examples:
  certagent doctor -c local/certagent.hcl
  certagent doctor -c local/certagent.hcl --as-user 10001:10001
  certagent doctor -o json --test-issue"
);

pub(super) const COMPLETIONS: &str = "\
Example:
  certagent completions bash > /etc/bash_completion.d/certagent";

pub(super) const HELP: &str = "\
Examples:
  certagent help run
  certagent help settings | less";

pub(super) const VERSION: &str = "\
Examples:
  certagent version
  certagent version -o json";

pub(super) const MAN: &str = "\
Examples:
  certagent man | man -l -
  certagent man --output-dir /usr/local/share/man/man1";
