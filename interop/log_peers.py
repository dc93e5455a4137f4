#!/usr/bin/env python3
"""Has two independent implementations check a log of ours, and one of them write the same log.

in:  a folder as `cargo run -p seaworthy-store --example log_fixture DIR N [GROUP]` makes it: log/, vkey, skey, leaves,
     old-checkpoint, proofs/. The keys are throw-away; never pass a real log's secret key.
     Or `--read-only --log LOGDIR --vkey FILE [--old-checkpoint FILE]`: any log, only the checks that need no secret.
out: one line a check, exit code 0 if all hold, 1 otherwise.

Peers, in an environment of their own (both are Apache-2.0):
     python3 -m venv v && v/bin/pip install --ignore-requires-python aics-tlog==0.2.1 tlog-scales==0.0.3

 a  aics-tlog verifies the checkpoint's signature against the tiles, the inclusion of a sample of leaves, and that the log
    only grew since an earlier checkpoint; tlog-scales reads the same leaves and proves them; our .tlog-proof files equal its.
 b  tlog-scales writes the same leaves with the same key in the same groups: every file below `tile/`, and the checkpoint,
    is equal byte for byte, and neither has a file the other lacks. Policy on both sides: a partial tile of a published
    checkpoint stays until its full tile is there, then goes (with us: at the next flush).
 c  controls: a flipped byte in each kind of file, another key, another origin: the peers refuse.
"""

import argparse
import base64
import contextlib
import io
import json
import logging
import shutil
import sys
import tempfile
from pathlib import Path

from aics_tlog import cli as aics
from tlog_scales import backend, reader, signing, tiles, writer

SAMPLE = 50
results = []


def check(name, ok, detail=""):
    results.append(ok)
    print(f"{'ok  ' if ok else 'FAIL'} {name}{': ' + str(detail) if detail else ''}", flush=True)


def run_aics(*arguments):
    """Runs an aics-tlog command in this process; returns (accepted, what it said)."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = aics.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
    said = out.getvalue().strip() or err.getvalue().strip()
    try:
        accepted = code in (0, None) and json.loads(said).get("ok") is True
    except ValueError:
        accepted = False
    return accepted, said[-300:]


def files_of(root):
    """The files that the specification names, by path."""
    found = [root / "checkpoint", *(root / "tile").rglob("*")]
    return {str(path.relative_to(root)): path.read_bytes() for path in found if path.is_file()}


def sample(size):
    step = max(1, size // SAMPLE)
    return sorted({*range(0, size, step), size - 1}) if size else []


def scales_leaf(log, index):
    """Reads and proves a leaf with tlog-scales."""
    peer = reader.TilesReader(backend.LocalBackend(log))
    state = peer.get_checkpoint()
    leaf = peer.get_entry(index)
    peer.get_inclusion_proof(index, state.size).check(tiles.leaf_hash(leaf), state.root_hash)
    return leaf


def refuses(action):
    """Whether the peer fails, one way or another, when it should."""
    try:
        return action() is False
    except Exception:
        return True


def verify(log, vkey, old, scratch):
    """Part a."""
    source = ["--vkey-file", vkey, "--tiles", log]
    accepted, said = run_aics("verify-checkpoint", *source)
    check("aics-tlog verify-checkpoint", accepted, "" if accepted else said)
    peer = reader.TilesReader(backend.LocalBackend(log))
    state = peer.get_checkpoint()
    state.verify(signing.Vkey.from_string(vkey.read_text().strip()))
    check("tlog-scales verifies the signature and makes the root from the tiles", peer.calculate_root_hash() == state.root_hash)
    proved = 0
    indexes = sample(state.size)
    for index in indexes:
        leaf = scratch / "leaf"
        leaf.write_bytes(scales_leaf(log, index))
        accepted, said = run_aics("verify-inclusion", *source, "--index", index, "--leaf", leaf)
        proved += accepted
    check("aics-tlog verify-inclusion, tlog-scales get-leaf", proved == len(indexes), f"{proved} of {len(indexes)} leaves of {state.size}")
    if old and old.exists():
        accepted, said = run_aics("verify-consistency", *source, "--old-checkpoint", old)
        check("aics-tlog verify-consistency", accepted, "" if accepted else said)
    return state


def compare_proofs(log, proofs):
    peer = reader.TilesReader(backend.LocalBackend(log))
    state = peer.get_checkpoint()
    for ours in sorted(proofs.glob("*.tlog-proof")):
        index = int(ours.name.split(".")[0])
        hashes = peer.get_inclusion_proof(index, state.size).node_hashes
        lines = ["c2sp.org/tlog-proof@v1", f"index {index}", *(base64.b64encode(h).decode() for h in hashes), "", state.serialize()]
        check(f"our proof of leaf {index} is tlog-scales' own", ours.read_text() == "\n".join(lines))


def rewrite(fixture, group, scratch):
    """Part b."""
    name, _, secret = (fixture / "skey").read_text().strip().removeprefix("PRIVATE+KEY+").split("+", 2)
    signer = signing.PlainEd25519Signer(name, base64.b64decode(secret)[1:])
    leaves = [bytes.fromhex(line) for line in (fixture / "leaves").read_text().split()]
    peer = writer.TilesWriter.create(scratch / "peer", name)
    for start in range(0, len(leaves), group):
        for leaf in leaves[start:start + group]:
            peer.add_leaf(leaf)
        peer.commit([signer])
    ours, theirs = files_of(fixture / "log"), files_of(scratch / "peer")
    different = sorted(path for path in {*ours, *theirs} if ours.get(path) != theirs.get(path))
    check("byte for byte what tlog-scales writes", not different and len(ours) > 2, different[:5] or f"{len(ours)} files")


def controls(fixture, old, scratch):
    """Part c."""
    vkey = fixture / "vkey"
    size = reader.TilesReader(backend.LocalBackend(fixture / "log")).get_checkpoint().size
    leaf = scratch / "leaf"
    leaf.write_bytes(scales_leaf(fixture / "log", 0))

    def accepts(log, key=vkey):
        source = ["--vkey-file", key, "--tiles", log]
        last = size - 1
        return (
            run_aics("verify-checkpoint", *source)[0]
            and run_aics("verify-inclusion", *source, "--index", 0, "--leaf", leaf)[0]
            and (not old.exists() or run_aics("verify-consistency", *source, "--old-checkpoint", old)[0])
            and all(scales_leaf(log, index) is not None for index in (0, last))
        )

    check("control: the untouched log is accepted", not refuses(lambda: accepts(fixture / "log")))
    partial = size % 256
    last = tiles.tile_path(0, size // 256, partial) if partial else tiles.tile_path(0, size // 256 - 1)
    targets = ["checkpoint", "/".join(tiles.tile_path(0, 0, 0 if size >= 256 else partial)), "/".join(last)]
    targets.append("/".join(tiles.tile_path(-1, 0, 0 if size >= 256 else partial)))
    for target in dict.fromkeys(targets):
        for place in ("first", "last"):
            copy = scratch / "flipped"
            shutil.copytree(fixture / "log", copy)
            path = copy / target
            data = bytearray(path.read_bytes())
            # in a bundle of entries: the first byte behind the length, which belongs to leaf 0
            at = (2 if "entries" in target else 0) if place == "first" else len(data) - 1
            if place == "last" and "entries" in target:
                at = 1 + int.from_bytes(data[:2], "big")
            data[at] ^= 1
            path.write_bytes(data)
            check(f"control: {target}, {place} byte flipped, is refused", refuses(lambda: accepts(copy)))
            shutil.rmtree(copy)
    other = scratch / "other-vkey"
    name = vkey.read_text().split("+")[0]
    other.write_text(signing.PlainEd25519Signer(name, bytes(32)).vkey.serialize() + "\n")
    check("control: another key is refused", refuses(lambda: accepts(fixture / "log", other)))
    source = ["--vkey-file", vkey, "--tiles", fixture / "log"]
    check("control: another origin is refused", not run_aics("verify-checkpoint", *source, "--origin", "other.example/log")[0])


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("fixture", nargs="?", type=Path, help="folder made by log_fixture")
    arguments.add_argument("--group", type=int, default=7, help="leaves a commit in the fixture")
    arguments.add_argument("--read-only", action="store_true")
    arguments.add_argument("--log", type=Path)
    arguments.add_argument("--vkey", type=Path)
    arguments.add_argument("--old-checkpoint", type=Path)
    given = arguments.parse_args()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        if given.read_only:
            verify(given.log, given.vkey, given.old_checkpoint, scratch)
        else:
            fixture = given.fixture
            old = fixture / "old-checkpoint"
            verify(fixture / "log", fixture / "vkey", old, scratch)
            compare_proofs(fixture / "log", fixture / "proofs")
            rewrite(fixture, given.group, scratch)
            controls(fixture, old, scratch)
    print(f"{sum(results)} of {len(results)} checks hold")
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
