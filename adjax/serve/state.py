"""The model that is served, and its replacement."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from adjax.predict.loading import Loaded
from adjax.serve.batching import Batcher
from adjax.serve.metrics import Metrics
from adjax.serve.model import Model


class State:
    """What all requests share.

    Attributes:
      name: of the model, in paths.
      metrics: what is counted.
      model: that is served; not warm before `ready`.
      ready: whether it is.
      batcher: that scores; None before the server runs.
      failure: why it could not be made ready; None: it could, or has not been tried.
    """

    def __init__(
        self,
        name: str,
        loaded: Loaded,
        load: Callable[[], Loaded],
        max_batch: int,
        warmed: Callable[[], None] = lambda: None,
    ):
        """Takes a detector.

        Args:
          name: of the model.
          loaded: the detector.
          load: loads it again from where it lies.
          max_batch: images the device sees at once.
          warmed: called when a model is compiled, before it is served.
        """
        self.name, self.metrics, self.model, self.ready = name, Metrics(), Model(loaded, max_batch), False
        self.batcher: Batcher | None = None
        self.failure: Exception | None = None
        self._load, self._max_batch, self._warmed, self._one = load, max_batch, warmed, asyncio.Lock()

    def warm(self) -> None:
        """Compiles, and is ready."""
        self.model.warm()
        self._warmed()
        self.metrics.serves(self.name, self.model)
        self.ready = True

    async def reload(self) -> Model:
        """Loads the detector again, makes it warm, and serves it from the next request on.

        Requests that have been taken are answered by the one before. One reload at a time; later ones wait.

        Returns:
          The model that is served now.

        Raises:
          Exception: it can't be loaded or run; the one before goes on serving.
        """

        def make() -> Model:
            model = Model(self._load(), self._max_batch)
            model.warm()
            self._warmed()
            return model

        async with self._one:
            try:
                model = await asyncio.to_thread(make)
            except Exception:
                self.metrics.reloaded(False)
                raise
            self.model = model
            self.metrics.serves(self.name, model)
            self.metrics.reloaded(True)
            return model
