//! `seaworthy sandbox`: the sandbox as a tool.
//!
//! in: `argv`; out: [`Sandbox`]. **Invariant:** values are read where they are used, so that a bad one ends with the sandbox' own exit code.

use clap::{Args, Subcommand};

#[derive(Subcommand, Debug)]
pub(crate) enum Sandbox {
    /// Run a command confined: its output and exit code are this command's own
    #[command(
        after_help = "Examples:\n  seaworthy sandbox run -- python3 -c 'print(1)'\n  seaworthy sandbox run --ro data/:/in/data --rw results/:/out/results -- sh -c 'sort /in/data/x > /out/results/x'\n  seaworthy sandbox run --memory 512MiB --processes 16 --timeout 30 -- make -C /in/src\n  seaworthy sandbox run --image ./preproc.tar -- cat /etc/os-release\n  seaworthy sandbox run --egress pypi.org:443 -- curl -s https://pypi.org/simple/\n\nExit codes: the command's own · 124 time is over · 125 the sandbox could not be set up, or what was left in /out cannot be taken · 126, 127 the command cannot be executed, was not found · 128+N signal N ended it · 137 killed for want of memory"
    )]
    Run(Isolated),
    /// What a profile does, what it asks of the machine, what it cannot stop, and whether this machine can have it
    #[command(
        after_help = "Examples:\n  seaworthy sandbox explain strict\n  seaworthy sandbox explain no-cgroup --json\n  seaworthy sandbox explain    all profiles"
    )]
    Explain {
        /// strict, no-cgroup, network, network-no-cgroup, gpu, landlock, provision, provision-no-cgroup or provision-landlock (default: all)
        profile: Option<String>,
    },
    /// Try the 65 numbered attacks on this machine, by this program: blocked, allowed or inconclusive; exits 1 if one succeeds that the profile claims to stop
    #[command(after_help = "Examples:\n  seaworthy sandbox selftest\n  seaworthy sandbox selftest --profile no-cgroup --json")]
    Selftest {
        /// Profile to attack (default: the strictest that this machine can have)
        #[arg(long, value_name = "NAME")]
        profile: Option<String>,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Isolated {
    /// How tightly: strict, no-cgroup, landlock, or gpu for devices (see `sandbox explain`)
    #[arg(long, value_name = "NAME", default_value = "strict")]
    pub(crate) profile: String,
    /// Show a file or folder of the host, read-only; below /in nothing can be executed; without a place: /in/<its name>
    #[arg(long, value_name = "HOST[:PLACE]")]
    pub(crate) ro: Vec<String>,
    /// A writable folder, empty at first; the plain files in it are copied to HOST when the command has ended
    #[arg(long, value_name = "HOST:/out/NAME")]
    pub(crate) rw: Vec<String>,
    /// A device of the host, an accelerator's node below /dev, with `--profile gpu`: it is shown at the same place
    #[arg(long, value_name = "/dev/NAME")]
    pub(crate) device: Vec<String>,
    /// A host that the command may reach, by TLS and through the proxy of $HTTPS_PROXY; everything else is not there
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) egress: Vec<String>,
    /// Memory of all its processes together, files in /out and /tmp included
    #[arg(long, value_name = "SIZE", default_value = "4GiB")]
    pub(crate) memory: String,
    /// Processes and threads at once
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) processes: u32,
    /// Seconds until everything is killed, or a time like 10m
    #[arg(long, value_name = "S", default_value = "1h")]
    pub(crate) timeout: String,
    /// Image to run it in, instead of the host's /usr: a path, a name of `image list`, or an image of a registry with its host
    #[arg(long, value_name = "REF")]
    pub(crate) image: Option<String>,
    /// Command and arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}
