//! Writes a log with a throw-away key, for peers to check: `log_fixture DIR N [GROUP]`.
//!
//! in: a folder, a number of leaves, leaves a commit (default 7); out: `DIR/log/` (the log), `DIR/vkey`, `DIR/skey`,
//! `DIR/leaves` (one entry a line in hex, so that another implementation can write the same log), `DIR/old-checkpoint` (the
//! checkpoint about half-way) and `DIR/proofs/<index>.tlog-proof` for some leaves.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "an example prints, and writes its own files")]

use std::path::PathBuf;
use std::sync::Arc;

use seaworthy_core::digest::{Digest, hex_encode};
use seaworthy_core::envelope::{Bundle, key_hint};
use seaworthy_core::event::{Event, EventKind};
use seaworthy_core::id::RunId;
use seaworthy_core::ports::Leaf;
use seaworthy_core::principal::PrincipalId;
use seaworthy_store::log::{Log, LogReader};
use signer::TestSigner;

mod signer;

const ORIGIN: &str = "fixture.example/log";

/// Each tenth leaf is a made-up attestation, the others are events.
fn leaf(n: u64) -> Leaf {
    if n % 10 == 9 {
        let public_key = b"no real key".to_vec();
        let signature = Digest::of(&n.to_be_bytes()).as_bytes().to_vec();
        let payload = format!("{{\"statement\":{n}}}").into_bytes();
        let bundle = Bundle { payload, signature, key_hint: key_hint(&public_key), log_proof: None };
        return Leaf::Attestation { bundle, public_key };
    }
    let kind = EventKind::RunEnded { run: RunId(format!("r{n:016x}")), state: "succeeded".into() };
    Leaf::Event(Event { time_ms: n, principal: PrincipalId("user:p-0000000000000000".into()), kind })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(dir), Some(count)) = (arguments.next(), arguments.next()) else {
        return Err("usage: log_fixture DIR N [GROUP]".into());
    };
    let (dir, count): (_, u64) = (PathBuf::from(dir), count.parse()?);
    let group: u64 = arguments.next().map_or(Ok(7), |n| n.parse())?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| error.to_string())?;
    let signer = Arc::new(TestSigner::new(ORIGIN, seed));
    let path = dir.join("log");
    Log::create(&path, ORIGIN, &*signer)?;
    let log = Log::open(&path, ORIGIN, signer.clone())?;
    let mut next = 0;
    while next < count {
        let end = count.min(next + group);
        log.append(&(next..end).map(leaf).collect::<Vec<_>>())?;
        next = end;
        if next <= count.div_ceil(2) {
            std::fs::write(dir.join("old-checkpoint"), log.snapshot()?.note())?;
        }
    }
    log.close()?;
    let reader = LogReader::open(&path)?;
    let entries = reader.entries(0..count).collect::<Result<Vec<_>, _>>()?;
    let lines: String = entries.iter().flat_map(|(_, entry)| [hex_encode(entry), "\n".to_owned()]).collect();
    std::fs::write(dir.join("leaves"), lines)?;
    std::fs::write(dir.join("vkey"), format!("{}\n", signer.vkey()))?;
    std::fs::write(dir.join("skey"), format!("{}\n", signer.secret_text()))?;
    std::fs::create_dir(dir.join("proofs"))?;
    for index in [0, count / 3, count.saturating_sub(1)] {
        std::fs::write(dir.join(format!("proofs/{index}.tlog-proof")), reader.prove(index)?)?;
    }
    println!("{}", reader.note());
    println!("vkey: {}", signer.vkey());
    println!("secret key: {}", dir.join("skey").display());
    Ok(())
}
