#!/usr/bin/env bash
# optax 0.2.8's contrib.muon, beside its documentation:
#
# - "ns_steps: ignored if ns_coeffs is a tuple of tuples". It isn't: five sets of coefficients and ns_steps=3 raise "Not
#   enough coeffs to perform 3 steps", though there are two too many; two sets and ns_steps=5 pass, and two steps are made.
# - "The non-2D parameters are passed through an AdamW optimizer". It is Nesterov's AdamW, since nesterov=True, which is
#   told as Muon's, goes to both: a bias moves by 1.47 at its first step where optax.adamw moves it by 1.
#
# Seen on Linux x86-64, CPU. Needs python3.11 (PYTHON311 names another).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"${PYTHON311:-python3.11}" -m venv here
here/bin/pip install --quiet optax==0.2.8 jax==0.10.2 jaxlib==0.10.2

JAX_PLATFORMS=cpu here/bin/python - <<'PYTHON'
import jax
import jax.numpy as jnp
import optax
from optax import contrib

matrix = jax.random.normal(jax.random.key(0), (8, 8))
plain = (3.4445, -4.7750, 2.0315)


def turned(sets, steps):
    muon = contrib.muon(1.0, ns_coeffs=sets, ns_steps=steps)
    return muon.update(matrix, muon.init(matrix), matrix)[0]


try:
    turned((plain,) * 5, 3)
except ValueError as error:
    print("five sets, ns_steps=3:", error)
    assert "Not enough coeffs to perform 3 steps" in str(error)
else:
    raise SystemExit("five sets and three steps pass")
two = jnp.allclose(turned((plain,) * 2, 5), turned(plain, 2), atol=1e-5)
five = jnp.allclose(turned((plain,) * 2, 5), turned(plain, 5), atol=1e-2)
print("two sets, ns_steps=5: as two steps", bool(two), " as five", bool(five))
assert two
assert not five

bias, gradient = jnp.zeros(3), jnp.array([1.0, -2.0, 3.0])
moved = {}
for name, optimizer in {
    "muon": contrib.muon(1.0),
    "muon(nesterov=False)": contrib.muon(1.0, nesterov=False),
    "adamw": optax.adamw(1.0),
    "nadamw": optax.nadamw(1.0),
}.items():
    moved[name] = optimizer.update(gradient, optimizer.init(bias), bias)[0]
    print(f"{name:22}", moved[name])
assert jnp.allclose(moved["muon"], moved["nadamw"])
assert jnp.allclose(moved["muon(nesterov=False)"], moved["adamw"])
assert not jnp.allclose(moved["muon"], moved["adamw"], atol=0.3)
PYTHON
echo "still so"
