# OpenSSF's model_signing takes our signed folders and we its; Sigstore's verifier takes our bundles.
"$CARGO" run --quiet -p seaworthy-trust --example fixture -- "$WORK/fixture"
"$CARGO" build --quiet -p seaworthy-trust --example folder
"$PYTHON" interop/model_signing.py --fixture "$WORK/fixture" --folder "$TARGET/debug/examples/folder"
node interop/sigstore.mjs "$WORK/fixture" "$(dirname "$NODE_PATH")"
