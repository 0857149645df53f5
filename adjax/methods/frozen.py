"""A network that is not trained: pre-trained features, or hand-made ones such as HOG, for a scorer to fit.

"Pre-trained features + one Gaussian" and "HOG + one-class SVM" are this method with two networks and two scorers.
"""

from __future__ import annotations

from adjax.models import Network
from adjax.types import Method


def frozen(
    network: Network,
    image_shape: tuple[int, int, int],
    classes: int,
    *,
    steps: int = 0,
    scorer: str = "gmm",
) -> Method:
    """Features as the network is initialised to give them; `step` is None.

    Args:
      network: gives `features` [N, D]; its `init` is what decides: weights read from a file (see
        `adjax.models.pretrained`), or random ones.
      image_shape, classes, steps: not needed; every factory takes them.
      scorer: the scorer that the combination is known by.
    """
    del image_shape, classes, steps

    def init(key, hparams):
        del hparams
        return {"params": {"network": network.init(key)}}

    def outputs(params, images):
        return network.apply(params["network"], images)

    return Method(init, None, outputs, {}, scorer=scorer, learns_from="normal", pixels="unit")
