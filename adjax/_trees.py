"""Pytrees by the names of their leaves."""

from __future__ import annotations

from typing import Any

import jax

from adjax.types import PyTree


def by_path(tree: PyTree) -> dict[str, Any]:
    """Leaves by path, "a/b/c", in the order of the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
