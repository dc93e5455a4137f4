#!/usr/bin/env python3
"""Has the C2SP witness of others cosign the log of a tiny workspace, through the product's own commands and plain HTTP.

in:  the binary `seaworthy`, an empty folder.
out: one line a check, exit code 0 if all hold, 1 otherwise.

Peer, in an environment of its own (Apache-2.0): pip install --ignore-requires-python aics-witness==0.1.0 aics-tlog==0.2.1
The witness listens on 127.0.0.1, on a port that the system chooses.

 a  `log consistency --from 0` is an add-checkpoint request that the witness answers with 200; `log publish` takes its line;
    `verify log` with a quorum of 1 fails before and names the witness after.
 b  after the log has grown, the proof from the size cosigned last is accepted, another old size is answered with 409 and that
    size, and `log publish` refuses this answer with what to type next; what the witness keeps is our checkpoint.
 c  an older copy of the workspace in the log's place (rolled back): the product refuses to make the request, the witness
    refuses the old checkpoint (409), and a fork of the same size signed with the log's own key (422), and keeps it.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

NAME = "witness.example/w1"
FILES = {
    "workflow.yaml": """workflows:
  - name: tiny
    steps:
      - ingest:
          source: s3://lake/raw/
          integrity_check: sha256
          policy_gate: data_schema_v2
""",
    "seaworthy.yaml": """environment: staging
project: {name: tiny, owner: 'user:somebody', purpose: tests, risk_class: minimal, residency: [EU], data_classes: [none]}
sources: {'s3://lake/': ./data/}
steps:
  tiny/ingest: {schema: schemas/numbers.yaml, outputs: {raw: dataset}}
""",
    "schemas/numbers.yaml": "columns:\n  id: {type: integer, unique: true}\n",
    "data/raw/numbers.csv": "id\n" + "".join(f"{number}\n" for number in range(200)),
}
results = []


def check(name, ok, detail=""):
    results.append(bool(ok))
    print(f"{'ok  ' if ok else 'FAIL'} {name}{': ' + str(detail) if detail != '' else ''}", flush=True)


class Workspace:
    """A tiny workspace with a user of its own."""

    def __init__(self, binary, folder):
        self.binary = binary
        self.dir = folder / "workspace"
        self.env = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
        self.env |= {f"XDG_{kind}_HOME": str(folder / kind.lower()) for kind in ("CONFIG", "STATE", "CACHE")}
        for name, text in FILES.items():
            path = self.dir / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def run(self, *arguments, stdin=b""):
        done = subprocess.run([self.binary, *arguments], cwd=self.dir, env=self.env, input=stdin, capture_output=True)
        return done.returncode, done.stdout, done.stderr.decode()

    def ok(self, *arguments, stdin=b""):
        code, out, err = self.run(*arguments, stdin=stdin)
        if code != 0:
            raise SystemExit(f"{arguments}: exit {code}\n{out.decode()}{err}")
        return out

    def grow(self):
        """A changed batch: pinned and run."""
        path = self.dir / "data/raw/numbers.csv"
        path.write_text(path.read_text() + f"{len(path.read_text().splitlines())}\n")
        self.ok("lock", "--update", "source:ingest")
        self.ok("run", "workflow.yaml")

    def checkpoint(self):
        return self.ok("log", "checkpoint")

    def size(self):
        return int(self.checkpoint().split(b"\n")[1])


class Witness:
    """aics-witness in a process of its own."""

    def __init__(self, folder):
        folder.mkdir()
        self.config = folder / "witness.json"
        # a seed in the environment would take the place of the key that init makes
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(("WITNESS_", "AICS_"))}
        self.vkey = self.command("init", "--name", NAME, "--listen", "127.0.0.1:0").strip()
        self.log = folder / "stderr"
        self.process = None

    def command(self, name, *arguments):
        argv = [sys.executable, "-m", "aics_witness", name, "--config", self.config, *arguments]
        return subprocess.run(argv, check=True, capture_output=True, text=True, env=self.env).stdout

    def start(self, origin, vkey):
        self.command("add-log", "--origin", origin, "--vkey", vkey)
        argv = [sys.executable, "-m", "aics_witness", "serve", "--config", self.config]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(argv, stderr=log, env=self.env)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            said = self.log.read_text()
            if "listening on " in said:
                self.url = said.split("listening on ")[1].split()[0]
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise SystemExit(f"the witness did not start:\n{self.log.read_text()}")

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(timeout=20)

    def ask(self, body):
        request = urllib.request.Request(f"{self.url}/add-checkpoint", data=body, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read()

    def state(self):
        return json.loads(self.command("status", "--json"))["logs"][0]


def trust_witness(workspace, witness):
    trust = json.loads(workspace.ok("trust", "export"))
    trust["witnesses"] = [{"name": NAME, "vkey": witness.vkey}]
    trust["quorum"] = 1
    workspace.ok("trust", "import", "-", stdin=json.dumps(trust).encode())


def first_cosignature(workspace, witness):
    """Part a."""
    code, _, err = workspace.run("verify", "log")
    check("control: uncosigned, verify refuses", code == 4 and "verify/witness-quorum" in err, code)
    status, answer = witness.ask(workspace.ok("log", "consistency", "--from", "0"))
    check("the witness cosigns our checkpoint", status == 200, (status, answer[:60]))
    broken = bytearray(answer)
    broken[-20] ^= 1
    code, _, err = workspace.run("log", "publish", "-", stdin=bytes(broken))
    check("control: its line with one character changed is refused", code != 0 and "error[log/" in err, code)
    code, out, err = workspace.run("log", "publish", "-", stdin=answer)
    check("log publish takes the line", code == 0, err.strip())
    code, out, err = workspace.run("verify", "log")
    check("verify holds and names the witness", code == 0 and f"witnessed by {NAME}" in out.decode(), err.strip())


def growth(workspace, witness):
    """Part b."""
    before = workspace.size()
    workspace.grow()
    size = workspace.size()
    check("the log has grown", size > before, f"{before} to {size}")
    code, _, err = workspace.run("verify", "log")
    check("the new checkpoint is uncosigned again", code == 4 and "verify/witness-quorum" in err, code)
    for wrong in (0, before - 1, size):
        status, answer = witness.ask(workspace.ok("log", "consistency", "--from", str(wrong)))
        check(f"old size {wrong} is answered with 409 and the size", (status, answer) == (409, b"%d\n" % before), (status, answer))
    code, _, err = workspace.run("log", "publish", "-", stdin=answer)
    check("log publish says what to type after a 409", code == 2 and f"log consistency --from {before}" in err)
    request = workspace.ok("log", "consistency", "--from", str(before))
    old, *proof = request.split(b"\n\n")[0].split(b"\n")
    flipped = base64.b64encode(bytes([base64.b64decode(proof[0])[0] ^ 1]) + base64.b64decode(proof[0])[1:])
    status, _ = witness.ask(request.replace(proof[0], flipped, 1))
    check("control: a proof with one byte changed is refused", status == 422, status)
    status, answer = witness.ask(request)
    check(f"the proof from {before} ({len(proof)} hashes) is accepted", status == 200, (status, answer[:60]))
    workspace.ok("log", "publish", "-", stdin=answer)
    code, out, err = workspace.run("verify", "log")
    check("verify holds again", code == 0 and f"checkpoint {size} of" in out.decode() and NAME in out.decode(), err.strip())
    check("the witness keeps this size", witness.state()["size"] == size, witness.state()["size"])


def rollback(workspace, witness, old):
    """Part c."""
    size = workspace.size()
    now = workspace.dir.with_name("now")
    workspace.dir.rename(now)
    shutil.copytree(old, workspace.dir, symlinks=True)
    short = workspace.size()
    code, _, err = workspace.run("log", "consistency", "--from", str(size))
    check("rolled back, the product refuses to ask", code == 2 and "log/shorter" in err, f"{short} leaves, {size} cosigned")
    status, answer = witness.ask(workspace.ok("log", "consistency", "--from", str(short)))
    check("the witness refuses the rolled-back checkpoint", (status, answer) == (409, b"%d\n" % size), (status, answer))
    code, _, err = workspace.run("verify", "log")
    check("verify refuses it too: more was seen before", code == 4 and "verify/log-rollback" in err, code)
    evidence = witness.state()["evidence"]
    # the product refuses to go on from there, until the operator makes it forget on purpose what was seen; then it
    # grows, under the log's own key, to a log of other leaves: only the witness can tell
    code, _, err = workspace.run("lock", "--update", "settings")
    check("nor does it go on from there", code == 4 and "verify/log-rollback" in err, code)
    shutil.rmtree(Path(workspace.env["XDG_STATE_HOME"]) / "seaworthy" / "checkpoints")
    while workspace.size() < size:
        workspace.grow()
    fork = workspace.size()
    status, _ = witness.ask(workspace.ok("log", "consistency", "--from", str(size)))
    check("the witness refuses the fork", status == 422, f"{status}, {fork} leaves")
    check("and keeps it as evidence", witness.state()["evidence"] == evidence + 1, witness.state()["evidence"])
    shutil.rmtree(workspace.dir)
    now.rename(workspace.dir)
    status, _ = witness.ask(workspace.ok("log", "consistency", "--from", str(size)))
    check("control: the true log is cosigned again", status == 200, status)


def main():
    binary, work = sys.argv[1], Path(sys.argv[2])
    workspace = Workspace(binary, work)
    workspace.ok("keys", "create")
    workspace.ok("lock")
    workspace.ok("run", "workflow.yaml")
    witness = Witness(work / "witness")
    trust = json.loads(workspace.ok("trust", "export"))
    trust_witness(workspace, witness)
    witness.start(trust["log"]["origin"], trust["log"]["vkey"])
    try:
        first_cosignature(workspace, witness)
        old = work / "old"
        shutil.copytree(workspace.dir, old, symlinks=True)
        growth(workspace, witness)
        rollback(workspace, witness, old)
    finally:
        witness.stop()
    print(f"{sum(results)} of {len(results)} checks hold")
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
