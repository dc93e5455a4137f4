# The reference Rego engine judges the shipped gates on the same inputs as ours.
# Its wheel asks for a newer Python than it needs, so it is unpacked, not installed.
"$PYTHON" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.14 \
    --implementation cp --abi none --platform manylinux_2_34_x86_64 --dest "$WORK" opa-golib-python-bindings==0.4.4
"$PYTHON" -m zipfile -e "$WORK"/opa_golib_python_bindings-*.whl "$WORK/site"
"$CARGO" run --quiet -p seaworthy-trust --example gate_answers -- 2000 1 > "$WORK/answers"
PYTHONPATH="$WORK/site" "$PYTHON" interop/opa.py "$WORK/answers"
