//! `seaworthy secrets`: what steps may be given to read.
//!
//! in: `argv`; out: [`Secrets`]. **Invariant:** no argument takes a value.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Subcommand, Debug)]
pub(crate) enum Secrets {
    /// Set the value of a secret, typed on the terminal without echo, or read from a file
    #[command(
        after_help = "Examples:\n  seaworthy secrets set db-password\n  seaworthy secrets set api-token --file token.txt\n  pass show api-token | seaworthy secrets set api-token --file -"
    )]
    Set {
        /// Name, as in secret://file/NAME
        name: String,
        /// Take the bytes of this file as they are; - for standard input
        #[arg(long, value_name = "PATH")]
        file: Option<PathBuf>,
    },
    /// The names of the secrets of this workspace and environment; never a value
    #[command(after_help = "Example:\n  seaworthy secrets list")]
    List,
    /// Remove a secret
    #[command(after_help = "Example:\n  seaworthy secrets remove db-password")]
    Remove {
        /// Name
        name: String,
    },
}
