"""A whole protocol, end to end: train on MNIST, fit, score its test images and Fashion-MNIST's, AUROC; beside PyTorch.

What a user waits for once everything is compiled. The peer is what its users write: PyTorch in eager mode, the tied
Mahalanobis distance in NumPy, scikit-learn's AUROC.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from adjax import data, loop, metrics, train
from adjax.pipeline import Recipe, member
from benchmarks.harness import Timing, compare
from benchmarks.training import ADAMW, EAGER

BATCH = 128


def centerloss(n: int, quick: bool) -> Timing:
    """LeNet-5 with center loss and the tied Mahalanobis distance; an epoch of batches of 128."""
    from benchmarks.peers.protocol import centerloss as peer

    digits, fits, strange = data.load("mnist", "train"), data.load("mnist", "test"), data.load("fashion_mnist", "test")
    images, labels = (x[: 1024 if quick else None] for x in (digits.images, digits.labels))
    known, odd = (split.images[: 256 if quick else None] for split in (fits, strange))
    truth = np.repeat([0, 1], [len(known), len(odd)])
    shape, steps = images.shape[1:], len(images) // BATCH
    built = Recipe("centerloss", scorer="mahalanobis", method_options=ADAMW).build(
        shape, tuple("0123456789"), steps=steps
    )
    normalise = built.normalise(images)
    table = built.members([np.arange(len(images))], [labels])
    program = train.compile_program(built.method, images, table, normalise, batch_size=BATCH)

    def ours() -> float:
        state = loop.train(program, steps)
        params = member(state.members["params"], 0)
        fitted = built.fit(params, normalise, images, labels)
        scores = np.concatenate([fitted.score(known), fitted.score(odd)])
        return float(metrics.auroc(scores, truth))

    theirs = peer(images, labels, known, odd, BATCH)
    reached = ours(), theirs()
    return compare(
        f"MNIST against Fashion-MNIST, {len(images):,} images trained on, {len(truth):,} scored "
        f"(AUROC {reached[0]:.3f}, peer {reached[1]:.3f})",
        f"{EAGER}, channels_last; NumPy; scikit-learn",
        ours,
        theirs,
        images=len(images),
        n=n,
        compile_s=program.compile_s,
    )


BENCHMARKS: dict[str, Callable[[int, bool], Timing]] = {"protocol_centerloss": centerloss}
"""Name -> `(pairs, quick) -> Timing`."""
