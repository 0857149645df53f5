"""digits: 1,797 handwritten digits, 8×8 grey, inside scikit-learn: the set that is always there."""

from __future__ import annotations

import numpy as np

from adjax.data.split import Split, make_split
from adjax.data.splitting import validation_split

CLASSES = tuple("0123456789")
TEST_IMAGES = 500
SPLIT_SEED = 0


def load_digits(split: str) -> Split:
    """The digits, with a fixed stratified split, by `validation_split`: 1,297 train, 500 test images.

    The publisher's values 0..16 become round(x * 255 / 16), uint8 0..255, so that they are images like all
    others.

    Args:
      split: "train" or "test".

    Returns:
      images uint8 [1297 or 500, 8, 8, 1], labels int32.
    """
    from sklearn.datasets import load_digits as embedded

    images, labels = embedded(return_X_y=True)
    images = np.rint(images * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    train, test = validation_split(labels, TEST_IMAGES / len(labels), SPLIT_SEED)
    keep = train if split == "train" else test
    return make_split(images[keep], labels[keep], "digits")
