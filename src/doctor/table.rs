//! Every check: its code, how bad it is, the exit code it leads to, what it means, what to do.
//!
//! The table is the documentation (docs/doctor.md is compared with it) and the program: a check
//! that is not in it is not run. What stays true: a code, once released, keeps its meaning.

use super::{
    Facts, Outcome, configuration, files, issuer, login, loki, mount, nomad, process, role::Misfit,
    served,
};
use crate::exit::Exit;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Works now, and bites later.
    Warn,
    /// Keeps the agent or the application from working.
    Fail,
}

impl Severity {
    /// The word in the documentation.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One check.
pub struct Check {
    /// Its stable name.
    pub code: &'static str,
    /// How bad a finding is.
    pub severity: Severity,
    /// The exit code when it fails; a warning never decides the exit code.
    pub exit: Exit,
    /// What a finding means.
    pub means: &'static str,
    /// What to do about it.
    pub todo: &'static str,
    pub(super) run: fn(&Facts) -> Outcome,
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code)
    }
}

type Run = fn(&Facts) -> Outcome;

const fn fail(
    code: &'static str,
    exit: Exit,
    means: &'static str,
    todo: &'static str,
    run: Run,
) -> Check {
    Check {
        code,
        severity: Severity::Fail,
        exit,
        means,
        todo,
        run,
    }
}

const fn warn(code: &'static str, means: &'static str, todo: &'static str, run: Run) -> Check {
    Check {
        code,
        severity: Severity::Warn,
        exit: Exit::Done,
        means,
        todo,
        run,
    }
}

/// All checks, in the order of the way to a served certificate.
pub const CHECKS: &[Check] = &[
    fail(
        "config-invalid",
        Exit::Usage,
        "the configuration can't be used",
        "mend it; `certagent check-config` shows where every value comes from",
        configuration::invalid,
    ),
    warn(
        "variable-ignored",
        "a variable or setting is set and has no effect",
        "remove it, so that nobody relies on it",
        configuration::ignored,
    ),
    warn(
        "config-doubtful",
        "the configuration asks for something that hardly anybody means, such as SIGHUP for Loki",
        "do what the note says",
        configuration::doubtful,
    ),
    fail(
        "directory-shared",
        Exit::Usage,
        "two certificates are published into the same directory",
        "give each block a directory of its own",
        configuration::shared_directory,
    ),
    warn(
        "address-plain",
        "the issuer is reached without TLS over a network",
        "write https:// and set ca_cert",
        configuration::plain_address,
    ),
    fail(
        "socket-path-long",
        Exit::Usage,
        "the path of a unix socket is longer than the kernel allows",
        "use a shorter directory, such as a shorter data_dir of the Nomad client",
        configuration::long_socket,
    ),
    fail(
        "budget-small",
        Exit::Usage,
        "the budget of issuances is too small for the ttl",
        "raise max_issuances_per_hour, or ask for a longer ttl",
        configuration::small_budget,
    ),
    warn(
        "budget-spent",
        "the budget of issuances of this hour is used up",
        "find out why in the log; a renewal waits until one is free again",
        configuration::spent_budget,
    ),
    fail(
        "issuer-unreachable",
        Exit::IssuerUnreachable,
        "no listed address of the issuer answers",
        "check address, port, name resolution and firewall",
        issuer::unreachable,
    ),
    fail(
        "issuer-tls",
        Exit::IssuerUnreachable,
        "the issuer's own certificate is not trusted, or names somebody else",
        "set ca_cert (VAULT_CACERT) and use a name that is in the certificate",
        issuer::tls,
    ),
    warn(
        "address-dead",
        "one of the listed addresses does not answer, another one does",
        "remove it, or start that server",
        issuer::dead_address,
    ),
    fail(
        "issuer-sealed",
        Exit::IssuerUnreachable,
        "the issuer is sealed",
        "unseal it; a published certificate stays in use",
        issuer::sealed,
    ),
    fail(
        "issuer-uninitialized",
        Exit::IssuerUnreachable,
        "the issuer was never initialised",
        "initialise and unseal it, or correct the address",
        issuer::uninitialized,
    ),
    fail(
        "clock-off",
        Exit::Failure,
        "this machine's clock and the issuer's are more than 30 s apart",
        "run a time service on both",
        issuer::clock,
    ),
    fail(
        "credential-missing",
        Exit::Denied,
        "the file that the login reads is not there",
        "check auth.path, and the identity block of the task (`file = true`)",
        login::missing,
    ),
    fail(
        "credential-unreadable",
        Exit::Denied,
        "the file that the login reads can't be read",
        "run the agent as the owner of the file; on Nomad `user` must exist on the host under the same id",
        login::unreadable,
    ),
    warn(
        "credential-open",
        "everybody on this machine can read the credential",
        "set `user` of the task to a name that the host knows, or mode 0600",
        login::open_to_all,
    ),
    fail(
        "jwt-malformed",
        Exit::Denied,
        "what is in the credential file is no JWT",
        "check auth.path: an empty or cut file is being written at this moment, or is the wrong one",
        login::malformed,
    ),
    fail(
        "jwt-expired",
        Exit::Denied,
        "the JWT has expired",
        "check that Nomad's servers can be reached: they write a new one before that",
        login::expired,
    ),
    fail(
        "jwt-not-yet-valid",
        Exit::Denied,
        "the JWT does not count yet",
        "compare the clocks of this machine, of Nomad's servers and of the issuer",
        login::not_yet_valid,
    ),
    fail(
        "jwt-audience",
        Exit::Denied,
        "the JWT is for another audience than the login's role accepts",
        "put the identity's aud into the role's bound_audiences",
        login::audience,
    ),
    fail(
        "login-refused",
        Exit::Denied,
        "the issuer refuses the login",
        "compare auth mount, role and claims",
        login::refused,
    ),
    fail(
        "token-invalid",
        Exit::Denied,
        "the issuer does not know the token",
        "give it a new one; better, let the agent log in",
        login::token_invalid,
    ),
    warn(
        "token-uses",
        "the token is good for a fixed number of requests only",
        "use a token without num_uses",
        login::token_uses,
    ),
    warn(
        "token-ends",
        "the token that was given ends before the certificate and can't be renewed",
        "give it a renewable or periodic one; better, let the agent log in",
        login::token_ends,
    ),
    fail(
        "mount-missing",
        Exit::Denied,
        "no PKI engine is mounted at the configured path, or its namespace is wrong",
        "check mount and namespace",
        mount::missing,
    ),
    fail(
        "mount-without-issuer",
        Exit::Denied,
        "the mount has no CA",
        "make or import a CA in it and set it as default",
        mount::without_issuer,
    ),
    fail(
        "policy-missing",
        Exit::Denied,
        "the token's policy does not allow the order",
        "add `update` on the path to the policy",
        mount::policy,
    ),
    fail(
        "role-missing",
        Exit::Denied,
        "the mount has no such role",
        "check the role's name, or make it",
        mount::role_missing,
    ),
    fail(
        "name-not-allowed",
        Exit::Denied,
        "the role does not allow a name",
        "set allowed_domains, allow_subdomains or allow_bare_domains of the role, or ask for another name",
        |facts| mount::misfit(facts, Misfit::Name),
    ),
    fail(
        "ip-not-allowed",
        Exit::Denied,
        "the role does not allow IP addresses",
        "set allow_ip_sans of the role, or leave the addresses out",
        |facts| mount::misfit(facts, Misfit::Ip),
    ),
    fail(
        "uri-not-allowed",
        Exit::Denied,
        "the role does not allow URIs",
        "set allowed_uri_sans of the role, or leave the URIs out",
        |facts| mount::misfit(facts, Misfit::Uri),
    ),
    fail(
        "key-not-allowed",
        Exit::Denied,
        "the role makes or signs other keys than are asked for",
        "set key_type to what the role has, or the role to key_type=any",
        |facts| mount::misfit(facts, Misfit::Key),
    ),
    fail(
        "usage-missing",
        Exit::Denied,
        "the role makes certificates that can't be used at both ends of mTLS",
        "set server_flag and client_flag of the role",
        |facts| mount::misfit(facts, Misfit::Usage),
    ),
    fail(
        "role-not-after",
        Exit::Denied,
        "the role has a fixed end, which the issuer refuses beside a ttl",
        "clear not_after of the role",
        |facts| mount::misfit(facts, Misfit::FixedEnd),
    ),
    warn(
        "ttl-above-role",
        "the role cuts the ttl, so renewals come more often than planned",
        "ask for less, or raise max_ttl of the role",
        |facts| mount::misfit(facts, Misfit::Cap),
    ),
    warn(
        "role-leases",
        "the role makes leases: the certificate is revoked with the login's token",
        "set generate_lease=false in the role",
        |facts| mount::misfit(facts, Misfit::Lease),
    ),
    fail(
        "ttl-above-ca",
        Exit::Denied,
        "the certificate would end after its CA",
        "renew the CA, or ask for a shorter ttl",
        mount::outlives_ca,
    ),
    warn(
        "ca-ends-soon",
        "the CA ends before two more renewals",
        "renew the CA now, and let both be trusted for a while",
        mount::ca_ends_soon,
    ),
    fail(
        "order-refused",
        Exit::Denied,
        "the issuer refused a real order (only with --ask)",
        "the reason names the field",
        issuer::order_refused,
    ),
    fail(
        "answer-refused",
        Exit::Refused,
        "a real order was answered with a certificate that fails our checks (only with --ask)",
        "the reason names the check",
        issuer::answer_refused,
    ),
    fail(
        "directory-not-real",
        Exit::CannotPublish,
        "the certificate directory is a link or a file",
        "name the real directory",
        files::not_a_directory,
    ),
    fail(
        "directory-foreign",
        Exit::CannotPublish,
        "the certificate directory belongs to somebody else than root, the agent or `uid`",
        "find out who made it and remove it; the agent makes its own",
        files::foreign_directory,
    ),
    fail(
        "link-foreign",
        Exit::CannotPublish,
        "a link of somebody else leads to the certificate directory",
        "remove the link, or name the directory that it leads to",
        files::foreign_link,
    ),
    fail(
        "directory-not-writable",
        Exit::CannotPublish,
        "the agent's user may not write in the certificate directory",
        "let it own the directory, or run the agent as its owner",
        files::not_writable,
    ),
    fail(
        "directory-read-only",
        Exit::CannotPublish,
        "the certificate directory is on a read-only mount",
        "mount it for writing in the agent's task",
        files::read_only,
    ),
    fail(
        "directory-no-rename",
        Exit::CannotPublish,
        "the file system can't replace a name in one step",
        "use a tmpfs, such as Nomad's secrets directory",
        files::no_rename,
    ),
    fail(
        "disk-full",
        Exit::CannotPublish,
        "there is no room for another set",
        "make room; on Nomad raise `secrets` in resources",
        files::full,
    ),
    fail(
        "inodes-used-up",
        Exit::CannotPublish,
        "there are no inodes for another set",
        "remove files from that file system",
        files::no_inodes,
    ),
    warn(
        "secrets-not-tmpfs",
        "the private key is written to a disk",
        "use Nomad's secrets directory with a client that runs as root, or another tmpfs",
        files::on_disk,
    ),
    warn(
        "directory-in-alloc",
        "the directory is in Nomad's shared alloc directory, which the API shows",
        "use the secrets directory",
        files::in_alloc,
    ),
    fail(
        "directory-open",
        Exit::CannotPublish,
        "others may write in the certificate directory",
        "chmod 0750, or set gid to the group that may",
        files::dir_open,
    ),
    fail(
        "key-open",
        Exit::CannotPublish,
        "everybody on this machine can read the private key",
        "set key_perms to 0600 or 0640, and the owner to the application's user",
        files::key_open,
    ),
    fail(
        "owner-not-settable",
        Exit::CannotPublish,
        "the agent may not give the files to the configured owner",
        "run the agent as that user, or as root",
        files::owner,
    ),
    fail(
        "reader-shut-out",
        Exit::CannotPublish,
        "the application's user can't read the set (only with --reader)",
        "run both as one user, or set uid, gid and key_perms",
        files::reader,
    ),
    warn(
        "leftovers",
        "a crash left files, or generations pile up",
        "start the agent: it removes its own; what stays is somebody else's",
        files::leftovers,
    ),
    fail(
        "set-unusable",
        Exit::Refused,
        "the published set has ended or fails the checks",
        "start the agent; `certagent inspect` names the check",
        files::unusable_set,
    ),
    warn(
        "ready-file-stale",
        "the ready file names a set that is not the published one, or has ended",
        "start the agent; `certagent wait` does not accept an ended one",
        files::stale_ready_file,
    ),
    fail(
        "ready-file-not-writable",
        Exit::CannotPublish,
        "the ready file can't be written, or is where nobody can see it",
        "let it be in the shared alloc directory",
        files::ready_file_place,
    ),
    fail(
        "nomad-socket-missing",
        Exit::Failure,
        "Nomad's Task API can't be reached",
        "Nomad 1.5 and later make secrets/api.sock; NOMAD_ADDR may name the agent instead",
        nomad::no_socket,
    ),
    fail(
        "nomad-token-missing",
        Exit::Failure,
        "there is no workload identity for the Task API",
        "give the task an identity { file = true } block",
        nomad::no_token,
    ),
    fail(
        "nomad-token-refused",
        Exit::Failure,
        "Nomad does not take the workload identity",
        "restart the task; look at the clock of Nomad's servers",
        nomad::bad_token,
    ),
    fail(
        "nomad-denied",
        Exit::Failure,
        "the task may not signal or restart tasks of its allocation",
        "attach a policy with alloc-lifecycle to the certagent task",
        nomad::no_lifecycle,
    ),
    fail(
        "nomad-failing",
        Exit::Failure,
        "Nomad answers, and can't do what is asked",
        "look into the log of the Nomad client",
        nomad::failing,
    ),
    fail(
        "process-missing",
        Exit::Failure,
        "the pid file names no running process",
        "check the path, and that both tasks see the same processes",
        process::missing,
    ),
    fail(
        "signal-not-caught",
        Exit::Failure,
        "the process does not catch the signal and would end",
        "use the signal that its manual names for a reload, or a restart",
        process::not_caught,
    ),
    fail(
        "sighup-for-loki",
        Exit::Failure,
        "Loki shall be sent SIGHUP, which ends it",
        "use auto, none or nomad_restart",
        process::hangs_up_loki,
    ),
    fail(
        "probe-closed",
        Exit::Failure,
        "nobody listens at the probe's address",
        "start the application, or correct probe.address",
        served::closed,
    ),
    fail(
        "probe-no-tls",
        Exit::Failure,
        "somebody listens at the probe's address, and shows no certificate",
        "turn TLS on in the application, or set starttls or alpn",
        served::no_tls,
    ),
    fail(
        "serves-other",
        Exit::Failure,
        "the application serves another certificate than the published one",
        "let it read the new files; see what the escalation list does",
        served::other,
    ),
    fail(
        "serves-unproven",
        Exit::Failure,
        "the application serves the published certificate and the connection fails all the same",
        "compare CA.pem, the name to prove and the health of the application",
        served::unproven,
    ),
    fail(
        "loki-file",
        Exit::Usage,
        "Loki's configuration can't be read",
        "name the file that Loki is started with, rendered",
        loki::file,
    ),
    fail(
        "loki-server-no-tls",
        Exit::Failure,
        "Loki's gRPC server is without TLS, or checks no clients",
        "set cert_file, key_file and client_ca_file of server.grpc_tls_config",
        loki::server_without_tls,
    ),
    warn(
        "loki-server-open",
        "Loki's gRPC server lets clients in that have no certificate",
        "set client_auth_type to RequireAndVerifyClientCert",
        loki::server_open,
    ),
    fail(
        "loki-client-no-tls",
        Exit::Failure,
        "a gRPC client of Loki is without TLS and can't connect",
        "set tls_enabled and the three paths in that block",
        loki::client_without_tls,
    ),
    warn(
        "loki-skip-verify",
        "a client of Loki verifies nobody",
        "set tls_ca_path and tls_server_name instead",
        loki::skip_verify,
    ),
    warn(
        "loki-memberlist-tls",
        "memberlist with TLS never reads a new certificate",
        "use Consul for the rings, or restart on every renewal (on_cert_change = nomad_restart)",
        loki::memberlist,
    ),
    warn(
        "loki-http-tls",
        "Loki's HTTP server serves the old certificate to clients that dial an IP address",
        "let those clients dial a name, or restart on every renewal",
        loki::http,
    ),
];
