# A foreign witness cosigns our checkpoint over HTTP, follows our log as it grows, and catches it when it is rolled back.
"$CARGO" build --quiet -p seaworthy
"$PYTHON" interop/witness.py "$TARGET/debug/seaworthy" "$WORK"
