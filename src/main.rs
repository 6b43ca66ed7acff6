//! Arguments in, exit code out.

use std::process::ExitCode;

use certagent::{cli, commands, config, exit::Exit, hardening, observe::log};

fn main() -> ExitCode {
    if let Err(error) = hardening::close() {
        log::last_words(&format!(
            "warning: other processes of this user may read this one's memory: {error}\n"
        ));
    }
    let environment = config::environment();
    match cli::parse(std::env::args_os()) {
        Ok(cli) => commands::run(cli, environment),
        Err(error) => {
            // A closed pipe must not turn help into a failure.
            let _ = error.print();
            if error.use_stderr() {
                Exit::Usage.into()
            } else {
                Exit::Done.into()
            }
        }
    }
}
