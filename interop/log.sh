# Two peers read our log and one writes the same log byte for byte; npm's Sigstore verifier takes a bundle with its proof.
"$CARGO" run --quiet -p seaworthy-store --example log_fixture -- "$WORK/fixture" 600
"$PYTHON" interop/log_peers.py "$WORK/fixture"
node interop/bundle_sigstore.cjs "$WORK/fixture"
