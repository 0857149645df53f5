"""The path from images to a detector: a recipe is built, its members are trained, detectors are made of them.

    recipe = Recipe("centerloss")                                    # names and options
    built = recipe.build(image_shape, classes, steps=steps)          # network, method, spec
    table = built.members([rows], [labels], seeds=[0])               # who trains on what
    trained = train_members(built, images, table, normalise, steps, batch_size=64)
    detector = built.fit(member(trained.params, 0), normalise, images[rows], labels[rows])

`train_one` is all of that for a single member. The commands, `adjax.train_detector`, `adjax.sklearn`, the experiments
and the benchmarks go this way; what they add (folders, checkpoints, figures) stands with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from adjax import detector as detectors
from adjax import factories, loop, methods, models, scorers, train
from adjax.augment import Augment, Normalise, normalise_for
from adjax.checkpoint import Checkpoints
from adjax.data.io import reading
from adjax.data.io.pixels import Frame
from adjax.data.io.scratch import Images
from adjax.detector import Detector
from adjax.extraction import check_scorer, with_layers
from adjax.models import weights
from adjax.models.weight_maps import MODELS as WEIGHTED
from adjax.models.weights import Weights
from adjax.sharding import to_host
from adjax.spec import Precision, Spec
from adjax.surface import words
from adjax.train import Members, Program, State
from adjax.types import Method, Outputs, PyTree

EPOCHS, MIN_STEPS, MOST_STEPS = 20, 2000, 20_000
FEWER = {"centerloss": (5, 500)}
"""Epochs and least steps of methods that learn in fewer, by `experiments.validate` and `experiments.validate_steps`."""


@dataclass(frozen=True)
class Recipe:
    """Names and options of what to train.

    Attributes:
      method: a name in `adjax.methods.METHODS`.
      model: a name in `adjax.models.MODELS`; None: the one in the method's entry.
      scorer: a name in `adjax.scorers.SCORERS`; None: the one that the method is published with.
      method_options, model_options, scorer_options: keyword arguments.
      weights: that the network starts from: `Weights`, the path of a file, or "random". None: published ones, for a
        model that is known for them, as `adjax.models.weights.resolve` has it; other models draw theirs.
      frame, depth, page, limits: what of a picture file the detector takes, see `adjax.spec.Spec`.
      precision: of the detector's network, "default" or "highest", see `adjax.spec.Precision`; training has JAX's own.
    """

    method: str
    model: str | None = None
    scorer: str | None = None
    method_options: Mapping[str, Any] = field(default_factory=dict)
    model_options: Mapping[str, Any] = field(default_factory=dict)
    scorer_options: Mapping[str, Any] = field(default_factory=dict)
    weights: Weights | str | Path | None = None
    frame: Frame = "middle"
    depth: int = 16
    page: int | None = None
    limits: tuple[float, float] | None = None
    precision: Precision = "default"

    @property
    def model_name(self) -> str:
        """The model's name.

        Raises:
          ValueError: none is named, and the method's entry knows none; no such method.
        """
        name = self.model or methods.entry(self.method).model
        if name is None:
            named = words("--model lenet5", "model='lenet5'")
            raise ValueError(f"method {self.method!r} has no network of its own: name one, as {named}")
        return name

    def supervision(self, image_shape: tuple[int, int, int]) -> str:
        """The method's supervision, see `Method.supervision`; builds nothing if its entry says so."""
        return methods.entry(self.method).supervision or self.build(image_shape, ("0", "1")).method.supervision

    def __post_init__(self) -> None:
        """Refuses names and options of a scorer that are known to be wrong before a network is.

        Raises:
          ValueError: an unknown method, model or scorer, or an option that the scorer doesn't have; on a command line,
            a scorer that `adjax.auto` alone can choose.
        """
        methods.entry(self.method)
        if self.model is not None:
            factories.look_up("model", models.MODELS, self.model)
        if self.scorer is not None:
            _check_found(self.scorer, self.scorer_options)
            scorers.make(self.scorer, **self.scorer_options)

    def build(self, image_shape: tuple[int, int, int], classes: Sequence[str], *, steps: int = 1) -> Built:
        """Makes network, method and spec; draws and trains nothing.

        Args:
          image_shape: (height px, width px, channels).
          classes: names of the classes of normal images, at least one.
          steps: of the whole training, for schedules.

        Returns:
          A `Built`.

        Raises:
          ValueError: an unknown name or option, a shape that is none of an image, no classes, or a network that can't
            take such images, or be trained by the method.
          WeightsError: weights that are not to be found, or are not this model's.
        """
        if len(image_shape) != 3 or min(image_shape) < 1:
            raise ValueError(
                f"image_shape {tuple(image_shape)}: must be (height px, width px, channels), as (28, 28, 1)"
            )
        if not len(classes):
            raise ValueError("classes are none: name at least one, as ('normal',)")
        name, options, found = self.model_name, dict(self.model_options), None
        if self.weights is not None or name in WEIGHTED:
            found = self.weights if isinstance(self.weights, Weights) else weights.resolve(self.weights, name)
            options = {**found.options, **options}
        network = models.make(name, image_shape, len(classes), **options)
        if found is not None:
            network = models.pretrained(network, found)
        _check_network(self.method, name, network, image_shape, len(classes))
        of = network, image_shape, len(classes)
        method = factories.make("method", methods.METHODS, self.method, *of, options=self.method_options, steps=steps)
        if self.scorer is None:
            scorers.make(method.scorer, **self.scorer_options)  # refused here, not after the training
        spec = Spec(
            self.method,
            name,
            self.scorer or method.scorer,
            image_shape,
            tuple(classes),
            tuple(self.scorer_options.items()),
            tuple(self.method_options.items()),
            tuple(options.items()),
            self.frame,
            **reading.of(self),
            precision=self.precision,
        )
        head_drawn = method.step is None and name in models.OWN and not weights.gives_head(network, found)
        return Built(with_layers(spec, head_drawn), method, found, head_drawn)


def _check_found(scorer: str, options: Mapping[str, Any]) -> None:
    """Refuses a scorer whose options are found by `adjax.auto.select`, where somebody named it on a command line.

    Raises:
      ValueError: what to do.
    """
    found = "names", "offsets", "scales"
    told = words(
        f"scorer {scorer!r} needs the options {', '.join(found)}; train finds them and chooses it by itself where no "
        "--scorer is named, and no command line can give them",
        "",
    )
    if scorer == "fused" and told and not all(isinstance(options.get(name), tuple) for name in found):
        raise ValueError(told)


def _check_network(
    method: str, model: str, network: models.Network, image_shape: tuple[int, int, int], classes: int
) -> None:
    """Refuses a network that a method can't train, by shapes alone.

    Raises:
      ValueError: what it lacks, and the models that don't.
    """
    if why := _lacks(method, network, image_shape):
        able = [name for name in models.MODELS if _trains(method, name, image_shape, classes)]
        these = ", ".join(able) or "none, by images of this size"
        raise ValueError(f"method {method!r} can't train model {model!r}, which {why}; these can be: {these}")


def _lacks(method: str, network: models.Network, image_shape: tuple[int, int, int]) -> str:
    """What keeps a method from training a network, for people; "": nothing."""
    reads = methods.entry(method).reads
    if not reads:
        return ""
    said = jax.eval_shape(network.apply, network.shapes, jax.ShapeDtypeStruct((1, *image_shape), np.float32))
    if missing := [name for name in reads if name not in said]:
        return f"gives {', '.join(said)} and no {' and '.join(missing)}"
    return "" if any(jax.tree.leaves(network.trainable)) else "has no parameters to train"


def _trains(method: str, model: str, image_shape: tuple[int, int, int], classes: int) -> bool:
    """Whether a method can train a model, as it is without options, on such images."""
    try:
        return not _lacks(method, models.make(model, image_shape, classes), image_shape)
    except ValueError:  # it can't take them
        return False


class Built(NamedTuple):
    """Network, method and spec of a recipe, for images of one shape.

    Attributes:
      spec: of the detectors to come.
      method: to train.
      weights: that the network starts from, if they were trained elsewhere.
      head_drawn: whether the network's logits are of a head that was drawn and is never trained. A model that someone
        registered may have its own: that can't be told.
    """

    spec: Spec
    method: Method
    weights: Weights | None
    head_drawn: bool = False

    def normalise(self, images: Images) -> Normalise:
        """The normalisation of the weights; without any, the one that the method takes for training images uint8[N, H,
        W, C]."""
        if self.weights is not None:
            return Normalise(*(np.asarray(x, np.float32) for x in (self.weights.mean, self.weights.sd)))
        return normalise_for(self.method.input_range, images)

    def members(
        self,
        rows: Sequence[np.ndarray],
        labels: Sequence[np.ndarray],
        seeds: Sequence[int] = (0,),
        hparams: Mapping[str, Any] | None = None,
    ) -> Members:
        """Builds a table of members, see `adjax.train.members`.

        Args:
          rows, labels: of each member, int[n]; labels are classes, 0 … K−1, or K for an anomaly if the method learns
            from labelled ones.
          seeds: of each member.
          hparams: hyper-parameters that differ from the method's own: a number for all members, or one for each.

        Returns:
          The `Members`.

        Raises:
          ValueError: a label that is no class.
        """
        most = len(self.spec.classes) - ("anomalies" not in self.method.supervision)
        for m, own in enumerate(map(np.asarray, labels)):
            if own.size and not 0 <= own.min() <= own.max() <= most:
                raise ValueError(
                    f"labels of member {m} from {own.min()} to {own.max()}: must lie in 0..{most}, for "
                    f"{len(self.spec.classes)} classes and {self.spec.method!r}, which learns from "
                    f"{self.method.supervision}"
                )
        values = {**self.method.hparams, **(hparams or {})}
        each = {name: np.broadcast_to(np.asarray(value, np.float32), len(seeds)) for name, value in values.items()}
        return train.members(each, seeds, rows, labels)

    def fit(
        self,
        params: PyTree,
        normalise: Normalise,
        images: Images,
        labels: np.ndarray,
        held_out: Images | None = None,
        **options: Any,
    ) -> Detector:
        """Makes a detector of one member's parameters, see `adjax.detector.fit`.

        Args:
          params: the member's own.
          normalise: pixel values to network input, as in training.
          images: uint8[N, H, W, C], normal, which the scorer and thresholds are fitted to.
          labels: int[N], 0 … K−1.
          held_out: uint8[m, H, W, C], normal and not trained on; None: none.
          **options: as of `adjax.detector.fit`.

        Returns:
          The `Detector`.
        """
        return detectors.fit(self.spec, params, normalise, images, labels, held_out, **options)


class Trained(NamedTuple):
    """The result of training.

    Attributes:
      params: of every member, stacked [M, ...], on the host.
      steps: optimiser steps done; 0 for a method that trains nothing.
      program: that trained them; None for a method that trains nothing.
    """

    params: PyTree
    steps: int
    program: Program | None


def train_members(
    built: Built,
    images: Images,
    table: Members,
    normalise: Normalise,
    steps: int,
    *,
    batch_size: int,
    augment: Augment = Augment(),  # noqa: B008 (a tuple of constants)
    checkpoints: Checkpoints | None = None,
    stop: loop.StopSignal | None = None,
    compiled: Callable[[Program], int | None] = lambda program: None,
    report: Callable[[int, dict[str, np.ndarray]], None] = lambda step, metrics: None,
    resumed: Callable[[int], None] = lambda step: None,
    after_epoch: Callable[[int, State], bool] = lambda step, state: False,
    **options: Any,
) -> Trained:
    """Trains a table of members as one program; a method without a step gives its parameters as drawn.

    Args:
      built: what to train.
      images: uint8[N, H, W, C], all that the table's rows may name; read into memory, unless nothing is trained.
      table: the members.
      normalise: pixel values to network input.
      steps: where to end, in optimiser steps from the start.
      batch_size: images per step and member.
      augment: random changes to the images.
      checkpoints, stop, report, resumed, after_epoch: as of `adjax.loop.train`.
      compiled: called with the program before it runs; may return an earlier step to end at.
      **options: as of `adjax.train.compile_program`: mesh, layout, steps_per_dispatch, resident.

    Returns:
      A `Trained`.
    """
    if built.method.step is None:
        return Trained(train.initial(built.method, table), 0, None)
    program = train.compile_program(
        built.method, np.asarray(images), table, normalise, batch_size=batch_size, augment=augment, **options
    )
    until = min(steps, compiled(program) or steps)
    state = loop.train(program, until, checkpoints, stop=stop, report=report, resumed=resumed, after_epoch=after_epoch)
    return Trained(to_host(state.members["params"]), int(state.step), program)


def member(params: PyTree, m: int) -> PyTree:
    """Takes the parameters of one member out of a stack.

    Args:
      params: a pytree of arrays [M, ...].
      m: in 0 … M−1.

    Returns:
      A pytree of arrays [...].
    """
    return jax.tree.map(lambda x: x[m], params)


class One(NamedTuple):
    """A detector, and the optimiser steps that its network was trained for."""

    detector: Detector
    steps: int


def training_steps(method: str, images: int, batch_size: int, asked: int | None = None) -> int:
    """Chooses the number of training steps: 20 epochs, but at least 2,000 steps and at most 20,000; or as `FEWER` says.

    Args:
      method: its name.
      images: trained on, ≥ 1.
      batch_size: images per step.
      asked: the user's number; None: choose.

    Returns:
      Optimiser steps; 0 if nothing is trained.
    """
    if not methods.entry(method).trains:
        return 0
    epochs, least = FEWER.get(method, (EPOCHS, MIN_STEPS))
    return asked or min(max(epochs * max(images // batch_size, 1), least), MOST_STEPS)


def train_one(
    recipe: Recipe,
    images: Images,
    labels: np.ndarray,
    classes: Sequence[str],
    rows: np.ndarray,
    held_out: np.ndarray,
    *,
    steps: int,
    batch_size: int,
    hparams: Mapping[str, float] | None = None,
    seed: int = 0,
    folds: int | None = None,
    params: PyTree | None = None,
    outputs: Outputs | None = None,
    **options: Any,
) -> One:
    """Trains one member and makes its detector.

    Args:
      recipe: what to train.
      images, labels: uint8[N, H, W, C] and int[N]; a label of `len(classes)` marks a labelled anomaly.
      classes: names of the classes of normal images.
      rows: int[n], trained on; the detector is fitted to the normal ones among them.
      held_out: int[m], normal images kept from training, for p-values and conformal thresholds; may be empty.
      steps: optimiser steps; nothing for a method that trains nothing.
      batch_size: images a step, at most n.
      hparams: hyper-parameters that differ from the method's own.
      seed: of weights, order and augmentation.
      folds: of cross-fitting (`adjax.crossfit`), where nothing is trained and nothing held out; None: none.
      params: of the network, which is trained already; None: it is trained here.
      outputs: of a network that is not trained on `images[rows]`, all of them normal, if known already.
      **options: as of `train_members`.

    Returns:
      A `One`: the detector, and the steps trained.

    Raises:
      ValueError: a scorer that the network can't feed; what `Recipe.build` refuses.
    """
    built = recipe.build(images.shape[1:], classes, steps=max(steps, 1))
    check_scorer(built.spec, built.head_drawn)
    normalise, trained_steps = built.normalise(images[rows]), 0
    if params is None:
        table, size = built.members([rows], [labels[rows]], [seed], hparams), min(batch_size, len(rows))
        trained = train_members(built, images, table, normalise, steps, batch_size=size, **options)
        params, trained_steps = member(trained.params, 0), trained.steps
    normal = rows[labels[rows] < len(classes)]
    aside = images[held_out] if len(held_out) else None
    crossed = folds if aside is None and built.method.step is None else None
    detector = built.fit(params, normalise, images[normal], labels[normal], aside, folds=crossed, outputs=outputs)
    return One(detector, trained_steps)
