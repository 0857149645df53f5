"""A detector on the device, compiled for a few batch sizes before the first request."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from adjax import localise
from adjax.data.io import reading, upload
from adjax.predict.batch import predict_batch, predict_tiled
from adjax.predict.loading import Loaded
from adjax.predict.stream import Prediction, row_of

Said = dict[str, Any]
"""What `predict_batch` says of one image, on the host."""


class Model:
    """Scores pictures in batches of 1, 2, 4, … `max_batch`: a batch is padded to the next of these sizes.

    Attributes:
      loaded: the detector.
      tiled: whether pictures keep their size, and are scored one by one.
      threshold: of the detector.
      level: that threshold, if its places have the unit of the score; else None.
      map_kind: as of `adjax.localise.kind`.
    """

    def __init__(self, loaded: Loaded, max_batch: int):
        """Puts the detector on the device; compiles nothing.

        Args:
          loaded: the detector.
          max_batch: images the device sees at once, at least 1; taken as the next power of two.
        """
        self.loaded, self.spec = loaded, loaded.detector.spec
        self.tiled = self.spec.frame == "tiles"
        self.map_kind = localise.kind(loaded.detector)
        self.threshold = float(loaded.detector.threshold)
        self.level = self.threshold if self.map_kind == "score" else None
        self.sizes = [1 << k for k in range((max_batch - 1).bit_length() + 1)]
        self._state = jax.device_put(loaded.detector)

    def warm(self) -> None:
        """Compiles each size."""
        for size in [1] if self.tiled else self.sizes:
            self.score([np.zeros(self.spec.image_shape, np.uint8)] * size)

    def decode(self, content: bytes) -> upload.Picture:
        """Decodes a picture file to this detector's image.

        Raises:
          DataError: the reason why not.
        """
        return upload.read(io.BytesIO(content), self.spec.image_shape, self.spec.frame, **reading.of(self.spec))

    def score(self, images: Sequence[np.ndarray]) -> list[Said]:
        """Scores decoded images; waits for the device.

        Args:
          images: uint8[H, W, C], at most `max_batch`; for tiles of any size.

        Returns:
          For each image what `predict_batch` says.
        """
        interval = self.loaded.interval
        if self.tiled:
            whole = [jax.device_get(predict_tiled(self._state, image, interval)) for image in images]
            return [{key: value[0] for key, value in said.items()} for said in whole]
        size = next(size for size in self.sizes if size >= len(images))
        batch = np.zeros((size, *self.spec.image_shape), np.uint8)
        for slot, image in enumerate(images):
            batch[slot] = image
        said = jax.device_get(predict_batch(self._state, batch, interval))
        return [{key: value[slot] for key, value in said.items()} for slot in range(len(images))]

    def row(self, name: str, header: upload.Header, said: Said) -> Prediction:
        """Makes the row of a picture, see `adjax.predict.stream.row_of`.

        Args:
          name: of the picture.
          header: of its file.
          said: of `score`.

        Returns:
          The `Prediction`.
        """
        return row_of(self.spec, self.level, name, header, said)
