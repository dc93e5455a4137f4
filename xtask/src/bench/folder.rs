//! Signing and verifying a folder, beside OpenSSF's `model_signing`.
//!
//! in: three folders of random bytes; out: the ratio of processor time, sign and verify together.
//! **Invariant:** both sign with the same P-256 key, and each verifies what it signed; files are in the page cache for both.
//! Our side is the example `folder` of trust: the product signs artifacts, not folders anywhere on the disk.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::measure::{mean, median, timed};
use super::{Bench, Row, peers};
use crate::process::{cargo, program, run, target};

/// Name, files and bytes of each, times that the peer needs.
type Shape = (&'static str, &'static [(usize, usize)], f64);

const SHAPES: &[Shape] = &[
    ("20,000 × 4 KiB", &[(20_000, 4096)], 9.0),
    ("1 × 512 MiB", &[(1, 512 << 20)], 2.0),
    ("1 GiB in 2,003 files", &[(2_000, 64 << 10), (3, ((1 << 30) - 2_000 * (64 << 10)) / 3)], 1.8),
];

const KEYS: &str = "
import pathlib, sys
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec
key, folder = ec.generate_private_key(ec.SECP256R1()), pathlib.Path(sys.argv[1])
(folder / 'key.pem').write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
(folder / 'pub.pem').write_bytes(key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo))
";

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>, String> {
    let python = peers::python(bench, "model-signing", &["model-signing==1.1.1", "pyOpenSSL"])?;
    run(cargo(&["build", "--release", "--quiet", "-p", "seaworthy-trust", "--example", "folder"]))?;
    let base = bench.dir.join("folder");
    if base.exists() {
        fs::remove_dir_all(&base).map_err(|error| format!("{}: {error}", base.display()))?;
    }
    fs::create_dir_all(&base).map_err(|error| format!("{}: {error}", base.display()))?;
    run(program(&python, &["-c", KEYS, &base.to_string_lossy()]))?;
    let mut rows = Vec::new();
    for (name, files, bound) in SHAPES {
        let folder = base.join("model");
        write(&folder, files).map_err(|error| format!("{}: {error}", folder.display()))?;
        rows.extend(compare(name, *bound, &python, &base)?);
        fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    Ok(rows)
}

/// Both, in turns.
fn compare(name: &str, bound: f64, python: &Path, base: &Path) -> Result<Vec<Row>, String> {
    let at = |name: &str| base.join(name);
    let ours = |verb: &str, key: &str| {
        let mut command = Command::new(target().join("release/examples/folder"));
        command.arg(verb).args([at("model"), at(key), at("ours.sig")]);
        command
    };
    let theirs = |verb: &str, option: &str, key: &str| {
        let mut command = Command::new(python.with_file_name("model_signing"));
        command.args([verb, "key"]).arg(at("model")).arg("--signature").arg(at("theirs.sig")).arg(option).arg(at(key));
        command
    };
    let mut both: [Vec<(f64, f64)>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..3 {
        let commands = [
            [ours("sign", "key.pem"), ours("verify", "pub.pem")],
            [theirs("sign", "--private_key", "key.pem"), theirs("verify", "--public_key", "pub.pem")],
        ];
        for (taken, [mut sign, mut verify]) in both.iter_mut().zip(commands) {
            let (signed, verified) = (timed(&mut sign)?, timed(&mut verify)?);
            taken.push((signed.wall_ms + verified.wall_ms, signed.cpu_ms + verified.cpu_ms));
        }
    }
    let [ours, theirs] = &both;
    let cpu = |taken: &[(f64, f64)]| mean(taken.iter().map(|(_, cpu)| *cpu));
    let wall = |taken: &[(f64, f64)]| median(taken.iter().map(|(wall, _)| *wall));
    Ok(vec![
        Row::ratio(&format!("sign and verify {name}: processor time"), cpu(ours), ("model_signing", cpu(theirs)), "ms", Some(bound)),
        Row::ratio(&format!("sign and verify {name}: wall"), wall(ours), ("model_signing", wall(theirs)), "ms", None),
    ])
}

/// Files of bytes that look random, no two alike.
fn write(folder: &Path, files: &[(usize, usize)]) -> std::io::Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut chunk = vec![0_u8; 4096];
    for (group, (count, bytes)) in files.iter().enumerate() {
        for number in 0..*count {
            let path: PathBuf = folder.join(format!("g{group}/d{}/f{number}", number % 40));
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            let mut file = File::create(&path)?;
            let mut left = *bytes;
            while left > 0 {
                for word in chunk.chunks_exact_mut(8) {
                    // xorshift64
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    word.copy_from_slice(&state.to_le_bytes());
                }
                let take = left.min(chunk.len());
                file.write_all(chunk.get(..take).unwrap_or_default())?;
                left -= take;
            }
        }
    }
    Ok(())
}
