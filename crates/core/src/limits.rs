//! Every bound of the product, in one file.

/// Bytes of a workflow, settings, schema or lock file.
pub const CONFIG_FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Steps in one workflow file.
pub const STEPS_MAX: usize = 10_000;
/// Faults of workflow and settings file that are shown at once.
pub const DIAGNOSTICS_MAX: usize = 200;
/// Nesting of JSON or YAML.
pub const DEPTH_MAX: usize = 64;
/// Bytes of one attestation payload.
pub const PAYLOAD_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Bytes of one request to the signer: a manifest of 100,000 files fits, with room.
pub const SIGNER_REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of one answer of the signer.
pub const SIGNER_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Connections that a signer serves at the same time.
pub const SIGNER_CONNECTIONS_MAX: usize = 64;
/// Checkpoints that a signer remembers having signed: any of them it signs again, byte for byte.
pub const SIGNER_CHECKPOINTS_MAX: usize = 4_096;
/// Leaves by which one checkpoint may be ahead of the newest that the signer knows.
pub const SIGNER_GROWTH_MAX: u64 = 1 << 24;
/// Bytes of requests that a signer keeps of all its peers together, until they are whole.
pub const SIGNER_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Bytes of one log entry (C2SP tlog-tiles: length is a `u16`).
pub const LOG_ENTRY_BYTES_MAX: usize = 65_535;
/// Signatures read from one note.
pub const NOTE_SIGNATURES_MAX: usize = 64;
/// Rows listed in one finding.
pub const FINDING_ROWS_MAX: usize = 100;
/// Bytes of a gate's Rego text.
pub const POLICY_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a gate's input document.
pub const GATE_INPUT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Time for one gate evaluation, milliseconds.
pub const GATE_TIME_MS_MAX: u64 = 50;
/// Bytes kept of a step's standard output, and of its standard error.
pub const STEP_LOG_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Files in one output folder.
pub const OUTPUT_FILES_MAX: usize = 100_000;
/// Bytes of one output folder, unless the step asks for less.
pub const OUTPUT_BYTES_MAX: u64 = 64 * 1024 * 1024 * 1024;
/// Seconds a step may run unless it declares `timeout`.
pub const STEP_TIMEOUT_S_DEFAULT: u64 = 3_600;
/// Times that `retries` may have a step's body tried again.
pub const RETRIES_MAX: u32 = 100;
/// Seconds before the first retry unless `retries` says otherwise.
pub const RETRY_WAIT_S_DEFAULT: u64 = 10;
/// Seconds to which the wait between retries doubles at most.
pub const RETRY_WAIT_S_MAX: u64 = 3_600;
/// Memory of a step unless it declares `resources.memory`, bytes.
pub const STEP_MEMORY_BYTES_DEFAULT: u64 = 4 * 1024 * 1024 * 1024;
/// Processes of a step unless it declares `resources.processes`.
pub const STEP_PROCESSES_DEFAULT: u32 = 256;
/// Packages in one locked Python environment.
pub const WHEELS_MAX: usize = 1_000;
/// Bytes of one wheel.
pub const WHEEL_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;
/// Entries of one wheel (a zip archive without its 64-bit extension holds at most 65,535).
pub const WHEEL_ENTRIES_MAX: usize = 65_534;
/// Bytes that one wheel may unpack to, for each byte of the wheel, beyond [`WHEEL_BOMB_FLOOR_BYTES`].
pub const WHEEL_RATIO_MAX: u64 = 50;
/// Unpacked bytes below which the ratio is not looked at.
pub const WHEEL_BOMB_FLOOR_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of a wheel's RECORD.
pub const WHEEL_RECORD_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Bytes of a step's scratch and outputs unless it declares `resources.disk`.
pub const STEP_DISK_BYTES_DEFAULT: u64 = 4 * 1024 * 1024 * 1024;
/// Bytes of a journal over which it is begun anew once every run in it has ended.
pub const JOURNAL_BYTES_LONG: u64 = 1024 * 1024;
/// Finished bodies of one step that such a new journal still knows, the newest.
pub const JOURNAL_BODIES_A_STEP_MAX: usize = 4;
/// Finished bodies of all steps that it still knows: one of each step of the largest workflow.
pub const JOURNAL_BODIES_MAX: usize = STEPS_MAX;
/// Bytes of an image's index, manifest or configuration.
pub const IMAGE_DOCUMENT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Layers of one image.
pub const IMAGE_LAYERS_MAX: usize = 512;
/// Bytes of one layer as it is kept.
pub const IMAGE_LAYER_BYTES_MAX: u64 = 32 * 1024 * 1024 * 1024;
/// Bytes that a layer may unpack to, for each of its own, beyond [`IMAGE_BOMB_FLOOR_BYTES`].
pub const IMAGE_RATIO_MAX: u64 = 100;
/// Unpacked bytes of a layer below which the ratio is not looked at.
pub const IMAGE_BOMB_FLOOR_BYTES: u64 = 256 * 1024 * 1024;
/// Bytes of all files of an image, as its layers bring them.
pub const IMAGE_BYTES_MAX: u64 = 64 * 1024 * 1024 * 1024;
/// Entries of all layers of an image together, with the folders that they imply.
pub const IMAGE_ENTRIES_MAX: usize = 1_000_000;
/// Bytes of a path in an image.
pub const IMAGE_PATH_BYTES_MAX: usize = 4_000;
/// Bytes of all paths and link targets of an image's layers together.
pub const IMAGE_NAMES_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes of one name in such a path.
pub const IMAGE_NAME_BYTES_MAX: usize = 255;
/// Folders within folders of an image.
pub const IMAGE_DEPTH_MAX: usize = 60;
/// Bytes of memory of one worker: its whole address space.
pub const WORKER_MEMORY_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Seconds of processor time of one worker.
pub const WORKER_CPU_S_MAX: u64 = 3_600;
/// Bytes of one request to a worker: the names of a dataset's files and a schema.
pub const WORKER_REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of a worker's answer.
pub const WORKER_ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of one part of a file that a worker unpacks.
pub const WORKER_PART_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Descriptors of one request to a worker.
pub const WORKER_FILES_MAX: usize = 200_000;
/// Characters of a worker's words about a file.
pub const WORKER_WORDS_MAX: usize = 2_000;
/// Seconds that a worker may take unless the step declares `timeout`.
pub const WORKER_TIME_S_DEFAULT: u64 = 3_600;
/// Hosts that one step may declare.
pub const EGRESS_HOSTS_MAX: usize = 64;
/// Connections of one step at the same time.
pub const EGRESS_CONNECTIONS_MAX: usize = 32;
/// Connections that one step may make in all: each is four leaves of the log.
pub const EGRESS_CONNECTIONS_TOTAL_MAX: u32 = 10_000;
/// Refused connections of one step that have leaves of their own; the rest is counted in one.
pub const EGRESS_DENIALS_MAX: u32 = 16;
/// Bytes of a request to the proxy, up to its empty line.
pub const EGRESS_REQUEST_BYTES_MAX: usize = 8 * 1024;
/// Bytes of the first message of TLS.
pub const EGRESS_HELLO_BYTES_MAX: usize = 16 * 1024;
/// Seconds in which a client must have sent both.
pub const EGRESS_GREETING_S_MAX: u64 = 10;
/// Seconds for finding a host's addresses, and again for connecting to one of them.
pub const EGRESS_CONNECT_S_MAX: u64 = 15;
/// Seconds that a connection may be silent in both directions.
pub const EGRESS_IDLE_S_MAX: u64 = 300;
/// Addresses of one host that are tried.
pub const EGRESS_ADDRESSES_MAX: usize = 4;
/// Bytes that all connections of a step may send, unless `resources.sent` says less.
pub const EGRESS_SENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Bytes that all connections of a step may receive, unless `resources.received` says less.
pub const EGRESS_RECEIVED_BYTES_MAX: u64 = 64 * 1024 * 1024 * 1024;
/// Secrets of one step.
pub const SECRETS_MAX: usize = 32;
/// Bytes of one secret.
pub const SECRET_BYTES_MAX: usize = 32 * 1024;
/// Bytes that a secret has at least: shorter ones would be found, and taken out, everywhere.
pub const SECRET_BYTES_MIN: usize = 6;
