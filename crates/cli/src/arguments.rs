//! The command line: names and meanings are a contract.
//!
//! in: `argv`; out: [`Arguments`]. **Invariant:** nothing is decided or read here.

mod sandbox;
mod secrets;

use std::path::PathBuf;

pub(crate) use sandbox::{Isolated, Sandbox};
pub(crate) use secrets::Secrets;

use clap::{Args, Parser, Subcommand};

/// Runs an AI workflow so that nothing in it can be changed, skipped or served without proof.
#[derive(Parser, Debug)]
#[command(
    name = "seaworthy",
    version,
    about = "Runs an AI workflow so that nothing in it can be changed, skipped or served without proof",
    after_help = "Examples:\n  seaworthy demo                          the whole story on real data, in ./seaworthy-demo\n  seaworthy init fraud && cd fraud        a new workspace\n  seaworthy lock workflow.yaml            pin what the workflow rests on\n  seaworthy run workflow.yaml             run it\n  seaworthy verify model:fraud@candidate  check the whole chain, offline"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Args, Debug, Clone)]
pub(crate) struct Global {
    /// Workspace folder (default: the folder of the workflow file, else the current one)
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) workspace: Option<PathBuf>,
    /// Print data as JSON; progress as one JSON event a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Environment to look at, where no workflow says it (default: from seaworthy.yaml)
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) environment: Option<String>,
    /// Socket of a signer that runs as a service (default: $SEAWORTHY_SIGNER, else every run starts a signer of its own)
    #[arg(long, global = true, value_name = "SOCKET")]
    pub(crate) signer: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Write a new workspace: the sample workflow, its settings, a first schema and program
    #[command(after_help = "Example:\n  seaworthy init fraud")]
    Init(Init),
    /// Run the shipped example on real data, verify it, and say where to look
    #[command(after_help = "Example:\n  seaworthy demo --dir /tmp/demo")]
    Demo(Demo),
    /// Show what a run would do, and every fault in the files
    #[command(after_help = "Examples:\n  seaworthy plan workflow.yaml\n  seaworthy plan workflow.yaml --reach")]
    Plan(Plan),
    /// Pin sources, environments, code, gates and schemas by digest in seaworthy.lock
    #[command(after_help = "Examples:\n  seaworthy lock workflow.yaml\n  seaworthy lock workflow.yaml --update source:ingest_data")]
    Lock(Lock),
    /// Run a workflow, or continue the run of it that a crash left unfinished
    #[command(after_help = "Examples:\n  seaworthy run workflow.yaml\n  seaworthy run workflow.yaml --profile no-cgroup")]
    Run(Run),
    /// List, show and cancel runs
    #[command(after_help = "Example:\n  seaworthy runs list")]
    #[command(subcommand)]
    Runs(Runs),
    /// List and show certified models
    #[command(after_help = "Example:\n  seaworthy models show employment@1")]
    #[command(subcommand)]
    Models(Models),
    /// Show where something came from and where it went
    #[command(after_help = "Example:\n  seaworthy lineage show model:employment@1")]
    #[command(subcommand)]
    Lineage(Lineage),
    /// Walk the chain of evidence back to its source, offline; exits 4 on any integrity failure
    #[command(
        after_help = "Examples:\n  seaworthy verify model:employment@1\n  seaworthy verify run:r0190a2b3c4d5e6f7 --deep\n  seaworthy verify log --trust auditor-trust.json"
    )]
    Verify(Verify),
    /// Whose signatures count
    #[command(after_help = "Example:\n  seaworthy trust export > trust.json")]
    #[command(subcommand)]
    Trust(Trust),
    /// Read the transparency log, and have it cosigned by witnesses
    #[command(after_help = "Example:\n  seaworthy log show")]
    #[command(subcommand)]
    Log(Log),
    /// Write what other tools need to check us
    #[command(after_help = "Example:\n  seaworthy attest export model:employment@1 -o evidence/")]
    #[command(subcommand)]
    Attest(Attest),
    /// Check, test and mutate gates
    #[command(after_help = "Example:\n  seaworthy policy test")]
    #[command(subcommand)]
    Policy(Policy),
    /// List, create, rotate, revoke and name keys
    #[command(after_help = "Example:\n  seaworthy keys create")]
    #[command(subcommand)]
    Keys(Keys),
    /// Set, list and remove the secrets that steps may read
    #[command(after_help = "Example:\n  seaworthy secrets set db-password")]
    #[command(subcommand)]
    Secrets(Secrets),
    /// The index of runs and models
    #[command(after_help = "Example:\n  seaworthy catalog rebuild")]
    #[command(subcommand)]
    Catalog(Catalog),
    /// Add, list and show container images; no container engine is needed
    #[command(
        after_help = "Examples:\n  seaworthy image add ./preproc.tar --name secure_preproc:2026.06\n  seaworthy image add registry.example/team/preproc:2026.06\n  seaworthy image list"
    )]
    #[command(subcommand)]
    Image(Image),
    /// The artifact store
    #[command(after_help = "Example:\n  seaworthy store gc --dry-run")]
    #[command(subcommand)]
    Store(Store),
    /// Confine any command as steps are confined; explain and test the profiles on this machine
    #[command(
        after_help = "Examples:\n  seaworthy sandbox run -- python3 untrusted.py\n  seaworthy sandbox explain no-cgroup\n  seaworthy sandbox selftest"
    )]
    #[command(subcommand)]
    Sandbox(Sandbox),
    /// Hold the keys in a process of its own: every run starts one; as a service it can belong to another user
    #[command(
        after_help = "Examples:\n  seaworthy --environment prod signer --id 0123456789abcdef --listen /run/seaworthy/signer.sock --allow-uid 1000\n  seaworthy --signer /run/seaworthy/signer.sock run workflow.yaml\n  seaworthy signer --status /run/seaworthy/signer.sock"
    )]
    Signer(Signer),
    /// Print the reference of all commands as Markdown
    #[command(hide = true)]
    Reference,
}

#[derive(Args, Debug)]
pub(crate) struct Signer {
    /// Workspace whose keys to hold, by its id (default: the workspace folder's)
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// Serve users of this machine on this socket, until stopped (default: the process that started it)
    #[arg(long, value_name = "SOCKET", requires = "id")]
    pub(crate) listen: Option<PathBuf>,
    /// Group of the socket, by number: its members may connect (default: this user's group)
    #[arg(long, value_name = "GID", requires = "listen")]
    pub(crate) group: Option<u32>,
    /// User who may ask, by number; may be given several times (default: the service's own)
    #[arg(long, value_name = "UID", requires = "listen")]
    pub(crate) allow_uid: Vec<u32>,
    /// Ask the signer at this socket what it signed and refused
    #[arg(long, value_name = "SOCKET", conflicts_with_all = ["listen", "root"])]
    pub(crate) status: Option<PathBuf>,
    /// Hold the root key instead of the three others
    #[arg(long, hide = true, conflicts_with = "listen")]
    pub(crate) root: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Init {
    /// Folder to write (default: the current one)
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// Folder to copy the example to
    #[arg(long, default_value = "seaworthy-demo")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) confinement: Confinement,
}

#[derive(Args, Debug)]
pub(crate) struct Plan {
    /// Workflow file
    pub(crate) workflow: PathBuf,
    /// Which workflow of the file (default: its only one)
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Show instead what each step can reach: data, code, environment, hosts, secrets
    #[arg(long)]
    pub(crate) reach: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Lock {
    /// Workflow file (default: workflow.yaml of the workspace)
    pub(crate) workflow: Option<PathBuf>,
    /// Move this pin to what is there now; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) update: Vec<String>,
    /// Which workflow of the file
    #[arg(long)]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) confinement: Confinement,
}

#[derive(Args, Debug)]
pub(crate) struct Run {
    /// Workflow file
    pub(crate) workflow: PathBuf,
    /// Which workflow of the file
    #[arg(long)]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) confinement: Confinement,
    /// Steps that may run at the same time
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub(crate) parallel: usize,
}

/// How steps are confined and environments found.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct Confinement {
    /// strict; no-cgroup where no cgroup, landlock where no user namespace can be had: their gaps are attested (default: strict)
    #[arg(long, value_name = "PROFILE")]
    pub(crate) profile: Option<String>,
    /// Never reach the package index; use what is there
    #[arg(long)]
    pub(crate) offline: bool,
    /// Python interpreter of locked environments (default: found on PATH)
    #[arg(long, value_name = "FILE")]
    pub(crate) python: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Runs {
    /// All runs, newest first
    #[command(after_help = "Example:\n  seaworthy runs list")]
    List,
    /// One run, step by step
    #[command(after_help = "Example:\n  seaworthy runs show r0190a2b3c4d5e6f7")]
    Show {
        /// Run id
        run: String,
    },
    /// Continue a run that was interrupted, where it was: finished steps do not run again, and no other run is begun
    #[command(after_help = "Example:\n  seaworthy runs resume r0190a2b3c4d5e6f7")]
    Resume(Resume),
    /// Ask a run in progress to stop
    #[command(after_help = "Example:\n  seaworthy runs cancel r0190a2b3c4d5e6f7")]
    Cancel {
        /// Run id
        run: String,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Resume {
    /// Run id
    pub(crate) run: String,
    /// Workflow file that it is a run of (default: workflow.yaml of the workspace)
    #[arg(long, value_name = "FILE")]
    pub(crate) workflow: Option<PathBuf>,
    /// Which workflow of the file
    #[arg(long)]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) confinement: Confinement,
    /// Steps that may run at the same time
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub(crate) parallel: usize,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Models {
    /// All model versions and aliases
    #[command(after_help = "Example:\n  seaworthy models list")]
    List,
    /// One version: lineage, signatures, metrics, score, gates
    #[command(after_help = "Examples:\n  seaworthy models show employment@1\n  seaworthy models show employment@candidate --json")]
    Show {
        /// NAME@VERSION or NAME@ALIAS
        reference: String,
    },
}

#[derive(Subcommand, Debug)]
pub(crate) enum Image {
    /// Fetch an image, verify every byte of it against its digests, and unpack it
    #[command(
        after_help = "Examples:\n  seaworthy image add ./layout --name secure_preproc:2026.06      an OCI layout, in a folder\n  seaworthy image add ./saved.tar --tag preproc:1 --name p:1       what `docker save` or `skopeo copy` wrote\n  seaworthy image add registry.example/team/preproc:2026.06        from a registry\n  seaworthy image add registry.example/team/preproc:1 --credentials ~/.config/seaworthy/registry.json"
    )]
    Add {
        /// Layout folder, archive (begins with `/`, `./` or `../`), or image of a registry with its host
        source: String,
        /// What to call it (default: the path, or the reference)
        #[arg(long, value_name = "NAME:TAG")]
        name: Option<String>,
        /// Which of several images of a layout or archive
        #[arg(long, value_name = "TAG")]
        tag: Option<String>,
        /// File with `{"HOST": {"username": …, "password": …}}`, or what `docker login` writes; nobody else may read it
        #[arg(long, value_name = "FILE")]
        credentials: Option<PathBuf>,
    },
    /// The images of this user
    #[command(after_help = "Example:\n  seaworthy image list --json")]
    List,
    /// One image: digests, layers, command, variables
    #[command(after_help = "Examples:\n  seaworthy image show secure_preproc:2026.06\n  seaworthy image show sha256:… --json")]
    Show {
        /// Name, or digest of its manifest (`sha256:…`)
        name: String,
    },
}

#[derive(Subcommand, Debug)]
pub(crate) enum Lineage {
    /// The tree of what something was made from, and what was made from it
    #[command(after_help = "Examples:\n  seaworthy lineage show model:employment@1\n  seaworthy lineage show run:r0190a2b3c4d5e6f7")]
    Show {
        /// model:NAME@V, run:ID or artifact:DIGEST
        reference: String,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// model:NAME@VERSION|ALIAS, run:ID, artifact:DIGEST or log
    pub(crate) reference: String,
    /// Trust file (default: the one in your configuration folder, else the workspace's own, which proves nothing)
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: Option<PathBuf>,
    /// Refuse a checkpoint older than this, for instance 24h
    #[arg(long, value_name = "TIME")]
    pub(crate) max_age: Option<String>,
    /// Hash environments too
    #[arg(long)]
    pub(crate) deep: bool,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Trust {
    /// Print the trust file: public keys, log origin, witnesses, sources
    #[command(after_help = "Example:\n  seaworthy trust export > trust.json")]
    Export,
    /// Check an edited trust file and make it yours: for instance with witnesses and a quorum
    #[command(
        after_help = "Example:\n  seaworthy trust export > trust.json\n  (add {\"name\": \"w.example/1\", \"vkey\": \"w.example/1+…\"} to `witnesses`, set `quorum`)\n  seaworthy trust import trust.json"
    )]
    Import {
        /// Trust file, or - for standard input
        file: PathBuf,
    },
}

#[derive(Subcommand, Debug)]
pub(crate) enum Log {
    /// The leaves, newest last
    #[command(after_help = "Example:\n  seaworthy log show --from 40 --count 10")]
    Show {
        /// First leaf
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Number of leaves
        #[arg(long, default_value_t = 100)]
        count: u64,
    },
    /// A C2SP proof that a leaf is in the log
    #[command(after_help = "Example:\n  seaworthy log prove 42")]
    Prove {
        /// Leaf index
        index: u64,
    },
    /// The current signed checkpoint
    #[command(after_help = "Example:\n  seaworthy log checkpoint")]
    Checkpoint,
    /// Print what asks a witness to cosign: the body of a C2SP add-checkpoint request for the current checkpoint
    #[command(
        after_help = "Examples:\n  seaworthy log consistency --from 0 | curl --data-binary @- https://w.example/add-checkpoint > answer\n  seaworthy log consistency --from 120    the witness cosigned 120 leaves last (it says so in a 409)"
    )]
    Consistency {
        /// Leaves that the witness cosigned last; 0 if it never did
        #[arg(long, value_name = "SIZE")]
        from: u64,
    },
    /// Add witnesses' cosignatures to the current checkpoint, each checked against the trust file
    #[command(after_help = "Examples:\n  seaworthy log publish answer\n  cat answer-1 answer-2 | seaworthy log publish -")]
    Publish {
        /// What the witness answered: its signature lines, or a whole note; - for standard input
        file: PathBuf,
    },
}

#[derive(Subcommand, Debug)]
pub(crate) enum Attest {
    /// Write bundles with log proofs, model.sig beside the model's files, keys and trusted root
    #[command(after_help = "Example:\n  seaworthy attest export model:employment@1 -o evidence/")]
    Export {
        /// model:NAME@V, run:ID or artifact:DIGEST
        reference: String,
        /// Folder to write
        #[arg(short, long)]
        output: PathBuf,
    },
}

#[derive(Subcommand, Debug)]
pub(crate) enum Policy {
    /// Load gates and report every fault
    #[command(after_help = "Example:\n  seaworthy policy check model_performance")]
    Check {
        /// Gate names or folders (default: all of the workspace and the built-in ones)
        gates: Vec<String>,
    },
    /// Run the cases of gates
    #[command(after_help = "Example:\n  seaworthy policy test policies/my_gate")]
    Test {
        /// Gate names or folders
        gates: Vec<String>,
    },
    /// Mutate passing inputs, and the policies themselves; list what still passes
    #[command(after_help = "Example:\n  seaworthy policy mutate model_performance")]
    Mutate {
        /// Gate names or folders
        gates: Vec<String>,
    },
}

#[derive(Subcommand, Debug)]
pub(crate) enum Keys {
    /// The keys of this workspace and environment
    #[command(after_help = "Example:\n  seaworthy keys list")]
    List,
    /// Create the keys that are missing
    #[command(after_help = "Examples:\n  seaworthy keys create\n  seaworthy keys create --passphrase")]
    Create {
        /// Protect them by a passphrase asked on the terminal, instead of an identity file
        #[arg(long)]
        passphrase: bool,
    },
    /// Replace a key; the old one stays valid for what it signed, and for nothing after
    #[command(after_help = "Example:\n  seaworthy keys rotate runner")]
    Rotate {
        /// user, runner or root
        role: String,
    },
    /// Have the root key say in the log that a key counts no more; a present key is rotated first
    #[command(
        after_help = "Examples:\n  seaworthy keys revoke 29d4bba895bb --reason 'laptop stolen'\n  seaworthy keys revoke 29d4bba895bb --from 120    what it signed from leaf 120 on counts no more either"
    )]
    Revoke {
        /// The key's digest as `trust export` shows it, or the beginning of it
        key: String,
        /// Why, one line without names of people: it stands in the log for ever
        #[arg(long, value_name = "TEXT", default_value = "unspecified")]
        reason: String,
        /// The first leaf at which it counts no more (default: the revocation's own)
        #[arg(long, value_name = "LEAF")]
        from: Option<u64>,
    },
    /// Give a principal's opaque id a name that only you see, or list the names you gave
    #[command(
        after_help = "Examples:\n  seaworthy keys name                                      all names\n  seaworthy keys name user:p-659a8bd9ce83aab6 'Ada Lovelace'\n  seaworthy keys name user:p-659a8bd9ce83aab6 --forget"
    )]
    Name {
        /// Id as `runs show` and `trust export` show it (default: list all)
        id: Option<String>,
        /// Name shown before the id; kept in your configuration folder, never in a workspace
        #[arg(conflicts_with = "forget")]
        name: Option<String>,
        /// Erase the name
        #[arg(long, requires = "id")]
        forget: bool,
    },
}

#[derive(Subcommand, Debug)]
pub(crate) enum Catalog {
    /// Make the index again from log and artifacts
    #[command(after_help = "Example:\n  seaworthy catalog rebuild")]
    Rebuild,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Store {
    /// Remove blobs that nothing in the log names
    #[command(after_help = "Example:\n  seaworthy store gc --dry-run")]
    Gc {
        /// Only say what would go
        #[arg(long)]
        dry_run: bool,
    },
}
