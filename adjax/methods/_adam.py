"""Adam, computed with the fewest passes through memory.

Kingma and Ba, "Adam: a method for stochastic optimization" (ICLR 2015), algorithm 1. optax has the same, and XLA makes
two sets of copies of it on CPU, which large weights and small batches feel:

- Where β₁ = ½, as GANs want it, ½·m + ½·g becomes ½·(m + g), and that a part of the weights' loop, which then reads the
  old moment: a copy of it. m + (1 − β₁)·(g − m) is taken as it stands.
- The new weights overwrite the old ones. But those of a layer are ready before the gradients of the layers below, which
  want the old ones still: a copy of them. So nothing moves before all gradients are there, see `when_all_are_there`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from adjax.types import PyTree


def scale_by_adam(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> optax.GradientTransformation:
    """`optax.scale_by_adam`, with its state, and its answers up to rounding.

    Args:
      b1, b2: what the moments keep of themselves at each step, in [0, 1).
      eps: added to the root of the second moment.

    Returns:
      An optax transformation of gradients; its state is `optax.ScaleByAdamState`.
    """

    def update(grads, state, params=None):
        del params
        count = optax.safe_increment(state.count)
        first = jax.tree.map(lambda m, g: m + (1 - b1) * (g - m), state.mu, grads)
        second = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * jnp.square(g), state.nu, grads)
        bias1, bias2 = when_all_are_there(grads, 1 - b1**count), 1 - b2**count
        updates = jax.tree.map(lambda m, v: m / bias1 / (jnp.sqrt(v / bias2) + eps), first, second)
        return updates, optax.ScaleByAdamState(count, first, second)

    return optax.GradientTransformation(optax.scale_by_adam(b1, b2, eps).init, update)


def when_all_are_there(grads: PyTree, value: jax.Array) -> jax.Array:
    """The value, known only after all gradients are; NaN if the first number of one is, so that none is read in vain.

    XLA's own way to say so, `lax.optimization_barrier`, is gone by the time that it decides on copies.

    Args:
      grads: arrays, none empty.
      value: a float that what has to wait is made with: a learning rate, say.

    Returns:
      `value`, unchanged; NaN if the first number of a gradient is NaN.
    """
    first = sum((leaf.ravel()[0] for leaf in jax.tree.leaves(grads)), jnp.float32(0))
    return jnp.where(jnp.isnan(first), jnp.nan, value)
