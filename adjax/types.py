"""The contracts of adjax, on one page.

Everything that can be exchanged (a method, a scorer) is a NamedTuple of *pure functions over pytrees*: so `jit`,
`vmap`, `grad`, `shard_map`, donation, saving and exporting come for free. Everywhere in adjax

* a **higher score means more anomalous**; label 1 = anomalous, 0 = normal;
* images are `uint8[N, H, W, C]` at the edges, float inside;
* scores and statistics are float32 or better;
* random keys are explicit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax

PyTree = Any
Outputs = Mapping[str, jax.Array]
"""What a network says of a batch: named arrays with N rows, such as `features` [N, D] and `logits` [N, K]."""
SizedBy = str | tuple[Any, ...]
"""A name of an output, or a tuple of such, nested."""
Metrics = Mapping[str, jax.Array]
"""Named float32 scalars of one training step."""


class Method(NamedTuple):
    """A training method: one file in `adjax/methods/`, made by a factory whose keyword arguments configure it.

    A method knows nothing of scorers, thresholds or devices. Its state is a pytree of arrays that holds *everything*
    that training changes or a hyper-parameter sets, so that a stack of states is a table of independent runs.

    Attributes:
      init: `(key, hparams) -> state`, with `hparams` a dict of float32 scalars (arrays, so that runs may differ).
        `state["params"]` is the part that `outputs` needs, and all that a detector keeps.
      step: `(state, batch, key, axis_name=None) -> (state, metrics)`, one optimiser step; None if there is nothing to
        train. `batch` holds `images` float32 [B, H, W, C] and `labels` int32 [B]. Under an `axis_name` the batch is
        this device's share and gradients and metrics are averaged over that axis, by `jax.shard_map` or `jax.pmap`
        alike. `metrics` has at least "loss".
      outputs: `(params, images float32[N, H, W, C]) -> {"features", "logits", "score", ...}`, the inference pass.
        A method that scores by itself gives "score" [N], higher = more anomalous; one that reconstructs gives
        "reconstruction", in the range and shape of `images`.
      hparams: the default hyper-parameters, by name.
      scorer: name in `adjax.scorers.SCORERS` of the scorer that this method is published with; "score" for a method
        that scores by itself.
      supervision: what `labels` are, and so which images it may see. "classes": the classes 0 … K−1 of normal images;
        "normal": normal images alone, labels all 0; "anomalies": 0 for normal images and 1 for labelled anomalies;
        "classes and anomalies": the classes, and K for labelled anomalies.
      input_range: the range that it takes images in: "standard" (mean 0, sd 1 over the training images), "unit" (0..1)
        or "signed" (−1..1).
    """

    init: Callable[[jax.Array, Mapping[str, jax.Array]], PyTree]
    step: Callable[..., tuple[PyTree, Metrics]] | None
    outputs: Callable[[PyTree, jax.Array], Outputs]
    hparams: Mapping[str, float]
    scorer: str
    supervision: Literal["classes", "normal", "anomalies", "classes and anomalies"] = "classes"
    input_range: Literal["standard", "unit", "signed"] = "standard"


class Scorer(NamedTuple):
    """Outputs of a network to one number per image: one file in `adjax/scorers/`; knows nothing of networks.

    Fitting is one pass through batches in any order and any chunking: `update` is a running sum, `merge` adds two of
    them, so statistics from many devices or machines combine into exactly what one would have found.

    Attributes:
      init: `(dim, classes) -> stats`, the statistics of no image at all. `dim` is D of features [N, D], or (h, w, C) of
        a map [N, h, w, C]: the shape of a row of the output named by `sized_by`.
      update: `(stats, outputs, labels int32[N], mask bool[N]) -> stats`; rows where `mask` is False count for nothing.
      merge: `(stats, stats) -> stats`.
      finalize: `(stats) -> state`, what scoring needs.
      score: `(state, outputs) -> f32[N]`, higher = more anomalous.
      distances: `(state, outputs) -> f32[N, K]`, how far each image is from each of the K classes (K = 1 for a scorer
        that knows no classes), from which `adjax.thresholds` calibrates one threshold per class.
      unseen: `(stats, state, outputs, labels) -> f32[N, K]`, the `distances` of images that the statistics are of, each
        by the fit without that image, and without fitting again; NaN where float32 can't tell. None: there is no such
        way, and `adjax.crossfit` fits again.
      maps: `(state, outputs) -> f32[N, h, w]`, how anomalous each place is, in the unit of `distances`; None: it has no
        places.
      unseen_maps: `(stats, state, outputs, labels) -> f32[N, h, w]`, the `maps` that `unseen` is of; None: no places.
      sized_by: name of the output that `init` takes the shape of; several, and it takes a tuple of theirs,
        nested as the names are.
      fewest: different images that a fit takes at least.
      pools: whether it takes any map [N, h, w, D] as its mean over all places, so that this, [N, D], will do.
    """

    init: Callable[[Any, int], PyTree]
    update: Callable[[PyTree, Outputs, jax.Array, jax.Array], PyTree]
    merge: Callable[[PyTree, PyTree], PyTree]
    finalize: Callable[[PyTree], PyTree]
    score: Callable[[PyTree, Outputs], jax.Array]
    distances: Callable[[PyTree, Outputs], jax.Array]
    unseen: Callable[[PyTree, PyTree, Outputs, jax.Array], jax.Array] | None = None
    maps: Callable[[PyTree, Outputs], jax.Array] | None = None
    unseen_maps: Callable[[PyTree, PyTree, Outputs, jax.Array], jax.Array] | None = None
    sized_by: SizedBy = "features"
    fewest: int = 1
    pools: bool = False

    def start(self, outputs: Outputs, classes: int) -> PyTree:
        """Makes the statistics before any image.

        Args:
          outputs: arrays or shapes by name, as `update` will take them.
          classes: K ≥ 1.

        Returns:
          The statistics.
        """
        return self.init(self.row(outputs), classes)

    def row(self, outputs: Mapping[str, Any]) -> Any:
        """Size of a row of outputs, or of their shapes, for `init`; 0 where a method gives its score alone."""

        def shape(name: str) -> Any:
            found = (0,) if name not in outputs else outputs[name].shape[1:]
            return found[0] if len(found) == 1 else found

        def of(sized_by: Any) -> Any:
            return shape(sized_by) if isinstance(sized_by, str) else tuple(map(of, sized_by))

        return of(self.sized_by)

    @classmethod
    def single(
        cls,
        init: Callable[[Any, int], PyTree],
        update: Callable[[PyTree, Outputs, jax.Array, jax.Array], PyTree],
        merge: Callable[[PyTree, PyTree], PyTree],
        finalize: Callable[[PyTree], PyTree],
        score: Callable[[PyTree, Outputs], jax.Array],
        unseen: Callable[[PyTree, PyTree, Outputs, jax.Array], jax.Array] | None = None,
        maps: Callable[[PyTree, Outputs], jax.Array] | None = None,
        unseen_maps: Callable[[PyTree, PyTree, Outputs, jax.Array], jax.Array] | None = None,
        sized_by: SizedBy = "features",
        fewest: int = 1,
        pools: bool = False,
    ) -> Scorer:
        """Builds a scorer without classes: the score is its only distance.

        Args:
          init, update, merge, finalize, score: as of `Scorer`.
          unseen, maps, unseen_maps, sized_by, fewest, pools: as of `Scorer`.

        Returns:
          The `Scorer`.
        """

        def distances(state: PyTree, outputs: Outputs) -> jax.Array:
            return score(state, outputs)[:, None]

        return cls(init, update, merge, finalize, score, distances, unseen, maps, unseen_maps, sized_by, fewest, pools)
