"""Frozen features for a scorer to fit: a pre-trained network, or hand-made ones such as HOG.

"Pre-trained features + one Gaussian" and "HOG + one-class SVM" are this method with two networks and two scorers.
"""

from __future__ import annotations

from adjax.models import Network
from adjax.types import Method


def feature_extractor(
    network: Network,
    image_shape: tuple[int, int, int],
    classes: int,
    *,
    steps: int = 0,
    scorer: str = "gmm",
) -> Method:
    """Wraps a network that is not trained as a `Method`; its `step` is None.

    Args:
      network: gives `features` [N, D]. Its `init` decides on the weights: those of a file (see
        `adjax.models.pretrained`), or random ones.
      image_shape, classes, steps: not used; every factory takes them.
      scorer: name of the scorer that the combination is known by.

    Returns:
      A `Method` of the network's outputs.
    """
    del image_shape, classes, steps

    def init(key, hparams):
        del hparams
        return {"params": {"network": network.init(key)}}

    def outputs(params, images):
        return network.apply(params["network"], images)

    return Method(init, None, outputs, {}, scorer=scorer, supervision="normal", input_range="unit")
