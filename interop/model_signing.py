#!/usr/bin/env python3
"""Has OpenSSF's model_signing check folders that we signed, and us check folders that it signed.

in:  --fixture DIR   as `cargo run -p seaworthy-trust --example fixture DIR` (or `seaworthy attest export`) writes it:
                     model/ with model.sig, keys/runner.pem
     --folder BIN    our program for folders: `cargo build -p seaworthy-trust --example folder`
out: one line a check, exit code 0 if all hold, 1 otherwise.

Peer, in an environment of its own (Apache-2.0; it forgets to ask for pyOpenSSL):
     python3 -m venv v && v/bin/pip install model-signing==1.1.1 pyOpenSSL
Run with that environment's python3.

 a  the exported model verifies with the peer, given only the runner's public key
 b  a tree whose order is a trap: ours -> theirs, theirs -> ours, both subjects' root digests equal
 c  controls: a changed byte, a file missing, a file added, another key: both refuse; what the peer lets pass although it
    was never signed (files below .git, a mode bit), we refuse
"""

import argparse
import base64
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

TRAP = ["B.bin", "a/x", "a-b/x", "a.d/x", "a.txt", "é.bin"]
PEER = str(Path(sys.executable).parent / "model_signing")
results = []


def check(name, ok, detail=""):
    results.append(bool(ok))
    print(f"{'ok  ' if ok else 'FAIL'} {name}{': ' + str(detail) if detail and not ok else ''}", flush=True)


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    return done.returncode == 0, (done.stdout + done.stderr).strip()[-300:]


def keys(folder, name):
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.key.pem", folder / f"{name}.pub.pem"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


def tree(folder):
    for number, name in enumerate(TRAP):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]) * (number * 1000 + 1))


def root(signature):
    payload = json.loads(base64.b64decode(json.loads(signature.read_text())["dsseEnvelope"]["payload"]))
    return payload["subject"][0]["digest"]["sha256"]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--fixture", type=Path, required=True)
    arguments.add_argument("--folder", type=Path, required=True)
    options = arguments.parse_args()
    ours = options.folder.resolve()

    model, runner = options.fixture / "model", options.fixture / "keys" / "runner.pem"
    verify = [PEER, "verify", "key", "--public_key"]
    check("the exported model verifies with model_signing", *run(*verify, runner, "--signature", model / "model.sig", model))

    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        private, public = keys(scratch, "own")
        _, other = keys(scratch, "other")
        folder = scratch / "trap"
        tree(folder)
        mine, theirs = scratch / "mine.sig", scratch / "theirs.sig"

        check("we sign", *run(ours, "sign", folder, private, mine))
        check("ours -> model_signing", *run(*verify, public, "--signature", mine, folder))
        check("ours -> ours", *run(ours, "verify", folder, public, mine))
        check("model_signing signs", *run(PEER, "sign", "key", "--private_key", private, "--signature", theirs, folder))
        check("theirs -> ours", *run(ours, "verify", folder, public, theirs))
        check("roots are equal on the trap tree", root(mine) == root(theirs), f"{root(mine)} {root(theirs)}")

        def refused(name, change, undo):
            change()
            for label, signature in (("ours", mine), ("theirs", theirs)):
                check(f"{name}: we refuse {label}", not run(ours, "verify", folder, public, signature)[0])
                check(f"{name}: model_signing refuses {label}", not run(*verify, public, "--signature", signature, folder)[0])
            undo()

        trap = folder / "a/x"
        kept = trap.read_bytes()
        refused("a changed byte", lambda: trap.write_bytes(b"X" + kept[1:]), lambda: trap.write_bytes(kept))
        refused("a missing file", trap.unlink, lambda: trap.write_bytes(kept))
        extra = folder / "evil.py"
        refused("an added file", lambda: extra.write_text("x"), extra.unlink)
        check("control: all is well again", *run(ours, "verify", folder, public, theirs))
        for label, signature in (("ours", mine), ("theirs", theirs)):
            check(f"another key: we refuse {label}", not run(ours, "verify", folder, other, signature)[0])
            check(f"another key: model_signing refuses {label}", not run(*verify, other, "--signature", signature, folder)[0])

        smuggled = folder / ".git" / "hooks"
        smuggled.mkdir(parents=True)
        (smuggled / "post-checkout").write_text("x")
        check("control: a file below .git passes model_signing", *run(*verify, public, "--signature", mine, folder))
        check("a file below .git: we refuse", not run(ours, "verify", folder, public, mine)[0])
        shutil.rmtree(folder / ".git")
        (folder / "B.bin").chmod(0o755)
        check("control: a mode bit passes model_signing", *run(*verify, public, "--signature", mine, folder))
        check("a mode bit: we refuse ours", not run(ours, "verify", folder, public, mine)[0])

    print(f"{sum(results)} of {len(results)} checks hold")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
