#!/usr/bin/env bash
# jax 0.12.0.1 exports a function of a symbolic batch; jax 0.10.2 deserialises the file, since both write calling
# convention 10 and 0.10.2 accepts it, and fails only when the program is compiled: StableHLO has got an operation since.
# The same function of a fixed batch runs. So the version in the file doesn't tell who can run it.
#
# Seen on Linux x86-64, CPU: "convention 10, reads 9-10" and then
# "JaxRuntimeError: INVALID_ARGUMENT: Failed to deserialize StableHLO" for the symbolic batch, [3. 3.] for the fixed one.
# Needs python3.11 and python3.13 (PYTHON311 and PYTHON313 name others).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"${PYTHON313:-python3.13}" -m venv new
"${PYTHON311:-python3.11}" -m venv old
new/bin/pip install --quiet jax==0.12.0.1 jaxlib==0.12.0.1 flatbuffers==25.12.19
old/bin/pip install --quiet jax==0.10.2 jaxlib==0.10.2 flatbuffers==25.12.19

JAX_PLATFORMS=cpu new/bin/python - <<'PYTHON'
import jax
import numpy as np
from jax import export

(n,) = export.symbolic_shape("n")
for name, rows in {"symbolic": n, "fixed": 2}.items():
    program = export.export(jax.jit(lambda x: x.sum(1)))(jax.ShapeDtypeStruct((rows, 3), np.float32))
    print(name, "exported by", jax.__version__, "calling convention", program.calling_convention_version)
    open(name, "wb").write(program.serialize())
PYTHON

JAX_PLATFORMS=cpu old/bin/python - <<'PYTHON'
import jax
import numpy as np
from jax import export

said = {}
for name in ("symbolic", "fixed"):
    program = export.deserialize(bytearray(open(name, "rb").read()))
    low, high = export.minimum_supported_calling_convention_version, export.maximum_supported_calling_convention_version
    print(name, "read by", jax.__version__, f"convention {program.calling_convention_version}, reads {low}-{high}")
    try:
        said[name] = str(program.call(np.ones((2, 3), np.float32)))
    except Exception as error:
        said[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    print(name, said[name])
assert "Failed to deserialize StableHLO" in said["symbolic"], said
assert said["fixed"] == "[3. 3.]", said
PYTHON
echo "still so"
