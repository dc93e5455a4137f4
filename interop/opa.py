#!/usr/bin/env python3
"""Has the reference Rego engine judge the same policies on the same inputs as our gates.

in:  the lines of `cargo run -p seaworthy-trust --example gate_answers -- COUNT SEED` on standard input or in a file.
out: one line a check, exit code 0 if all hold, 1 otherwise.

Peer, in a folder of its own (Apache-2.0; the wheel asks for a newer Python than it needs, so it is unpacked, not installed):
     pip download --no-deps --only-binary=:all: --python-version 3.14 --implementation cp --abi none \\
         --platform manylinux_2_34_x86_64 opa-golib-python-bindings==0.4.4
     unzip -d site opa_golib_python_bindings-*.whl && PYTHONPATH=site python3 interop/opa.py ANSWERS

 a  our gate never passes what the reference engine's answer does not pass (all checks true, deny empty);
 b  on inputs that fit the contract both agree exactly;
 c  controls: the reference engine alone passes inputs that break the contract (else the contract would be idle), inputs of
    both verdicts occur often, and a policy with one operator turned is noticed.
"""

import argparse
import json
import sys

from opa_bindings import OpaEngine, OpaError

results = []


def check(name, ok, detail=""):
    results.append(bool(ok))
    print(f"{'ok  ' if ok else 'FAIL'} {name}{': ' + str(detail) if detail else ''}", flush=True)


def engine_for(policy, bounds):
    engine = OpaEngine()
    engine.add_policy("gate.rego", policy)
    engine.add_data({"bounds": bounds})
    return engine


def passes(engine, document):
    """The reference engine's verdict: 'pass', 'deny', or 'error' (undefined included)."""
    try:
        value = engine.eval_document("seaworthy.gate.result", input=document)
    except OpaError:
        return "error"
    if not isinstance(value, dict) or not value.get("checks"):
        return "error"
    good = all(check.get("pass") is True for check in value["checks"].values()) and not value.get("deny")
    return "pass" if good else "deny"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("answers", nargs="?", type=argparse.FileType("r"), default=sys.stdin)
    lines = [json.loads(line) for line in parser.parse_args().answers]
    policies = {line["gate"]: line for line in lines if "rego" in line}
    engines = {gate: engine_for(line["rego"], line["bounds"]) for gate, line in policies.items()}
    turned = {
        gate: engine_for(line["rego"].replace('"pass": got >= want', '"pass": got < want'), line["bounds"])
        for gate, line in policies.items()
    }
    looser, differing, open_without, both, noticed = [], [], 0, {"pass": 0, "deny": 0}, 0
    inputs = [line for line in lines if "input" in line]
    for line in inputs:
        theirs = passes(engines[line["gate"]], line["input"])
        if line["pass"] and theirs != "pass":
            looser.append(line)
        if line["contract"]:
            both["pass" if line["pass"] else "deny"] += 1
            if line["pass"] != (theirs == "pass"):
                differing.append((theirs, line))
            if theirs != passes(turned[line["gate"]], line["input"]):
                noticed += 1
        elif theirs == "pass":
            open_without += 1
    check("a: never passes what the reference engine does not", not looser, looser[:1] or f"{len(inputs)} inputs")
    check("b: agree wherever the contract holds", not differing, differing[:1] or both)
    check("c: the contract refuses what the reference engine alone would pass", open_without > 0, open_without)
    check("c: both verdicts are common", min(both.values()) >= len(inputs) // 50, both)
    check("c: a turned operator is noticed", noticed > 0, noticed)
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
