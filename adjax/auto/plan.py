"""Choice of what to train, from the number, size, colour and classes of the images; with the reasons.

| what there is | what is trained |
|---|---|
| fewer than 1,000 images, or images above 64 px | a pre-trained network's features and the nearest of them (of \
several classes a Gaussian each); from 24 px on with scorers of patches, as far as these find synthetic defects \
(`adjax.auto.select`) |
| the same, and no weights available | HOG and a one-class SVM; from 1,000 images on as below, shrunk |
| 1,000 small images or more, of classes | LeNet-5 with center loss, Mahalanobis distance to the classes |
| 1,000 small images or more | a convolutional autoencoder's error |

Why not center loss whenever there are classes: fine-tuned on 432 crops of three textures it told photographs from
them at an AUROC of 0.84, where the same network left alone reached 0.98 (`experiments/results`). Why the nearest image
and not a Gaussian: of few images of many kinds it knows each; what scorers and sides see is compared by
`benchmarks.selection`.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adjax.auto import METHODS
from adjax.data.io import reading
from adjax.data.io.pixels import Frame
from adjax.data.io.upload import Header
from adjax.data.split import DataError
from adjax.extraction import check_scorer, shapes, traced
from adjax.methods import entry
from adjax.models import weights
from adjax.models.hog import coarse
from adjax.models.weight_maps import MODELS as WEIGHTED
from adjax.pipeline import Recipe
from adjax.spec import Precision
from adjax.surface import words

FEW = 1000
SMALL_PX, LARGE_PX = 64, 256
"""Images up to SMALL_PX are learned from scratch; for a pre-trained network larger ones are shrunk to the area of a
square of LARGE_PX."""
CELL_PX = 16
"""What the sides of a picture of a pre-trained network are multiples of."""
BACKBONE = "efficientnet_lite0"
SEEN_PX = 128
"""Side that a pre-trained network enlarges smaller images to, unless the user named a side: things are as large as it
knows them. Larger images keep their size."""
PATCHED_PX = 96
"""Least side of tiles, of what a pre-trained network sees, and of pictures in which places may be heard alone."""
PLACES_PX = 24
"""Least side of images in which scorers of patches look for defects, and by which scorers are compared."""
SMALLEST_PX = 8
LAYERS = ("layer1", "layer2")
"""Maps whose features lie side by side in `patches`, at the places of the first, a quarter of the side: at an eighth,
those of `layer2`, as much is found in four textures, and marks are wider than their defects (AUPRO to 5 %)."""
PATCHES: Mapping[str, Mapping[str, Any]] = {
    "patchcore": {
        "feature": (*LAYERS, "statistics"),
        "coreset": 4000,
        "capacity": 50_000,
        "shrinkage": 0.1,
        "smooth": True,
    },
    "padim": {"feature": (*LAYERS, "statistics"), "smooth": True},
    "subspace": {"components": 0.99},
}
"""Scorers of patches, with their options, chosen by `experiments.patch_maps`.

Each map has its own Gaussians or memory (`adjax.scorers._layered`). The network's layers and the picture's local
statistics see different defects. Memories in lengths by the patches' covariance find more than Euclidean ones, and
larger ones find more: of twice as many patches a little more yet, and slower. With `layer3` as well less is found, and
marks reach further. Smoothed over 3×3 places, maps show better where.
"""
DEEP = "layer3"
ALONE: Mapping[str, Mapping[str, Any]] = {
    "patchcore": {
        **PATCHES["patchcore"],
        "feature": ("layer2", DEEP, "statistics"),
        "whole": DEEP,
    },
    "padim": {**PATCHES["padim"], "feature": (*LAYERS, DEEP)},
}
"""As `PATCHES`, of pictures that are seen whole where nothing is fused with it: a scorer that stands alone has to know
what pictures show as well, and finds fewer of the smallest defects for it."""
TILED = ("patchcore", "subspace", "patchwise")
"""Scorers of patches that know no positions, so that tiles are alike to them."""
REMEMBERED = 256, 10_000
"""Least and most images that nearest neighbours are looked for among."""
FROZEN = tuple(name for name in METHODS if not entry(name).trains)
WITHOUT_WEIGHTS = ("hog",)
"""Models that compute features as they are."""
FRAMES: Mapping[Frame, str] = {
    "whole": "pictures are brought to it whole",
    "letterbox": "pictures are brought to it whole, in their own proportions between black bars",
    "middle": "the middle of pictures is brought to it",
    "tiles": "pictures keep their size, and are cut into overlapping tiles of this one",
}
NO_WEIGHTS = "NO PRE-TRAINED WEIGHTS can be had"


@dataclass(frozen=True)
class UserChoices:
    """The user's choices; None: to be chosen from the data, and for `frame` "whole"."""

    method: str | None = None
    model: str | None = None
    scorer: str | None = None
    side_px: int | None = None
    weights: str | None = None
    frame: Frame | None = None
    precision: Precision = "default"


@dataclass(frozen=True)
class TrainingPlan:
    """The method, network, scorer and options to train.

    Attributes:
      method, model, scorer: names; scorer None: the method's own.
      shape: (height px, width px, channels) of its images.
      model_options, scorer_options: keyword arguments.
      pretrained: the weights that it starts from.
      batch_size, learning_rate, shift_px: of training, if there is any; learning_rate None: the method's own.
      why: a sentence for each choice.
      frame: how a picture is brought to `shape`, see `adjax.data.io.pixels`.
      selects: nobody named a scorer, and the network has maps: synthetic defects decide, see `adjax.auto.select`.
      depth: bits that 16-bit grey pictures use, see `adjax.data.io.depth.Depths.fitted`.
      page, limits: what of a picture file is taken, see `adjax.spec.Spec`.
      precision: of the network, see `adjax.spec.Precision`.
    """

    method: str
    model: str
    scorer: str | None
    shape: tuple[int, int, int]
    model_options: Mapping[str, Any] = field(default_factory=dict)
    scorer_options: Mapping[str, Any] = field(default_factory=dict)
    pretrained: weights.Weights | None = None
    batch_size: int = 64
    learning_rate: float | None = None
    shift_px: int = 0
    why: tuple[str, ...] = ()
    frame: Frame = "whole"
    selects: bool = False
    depth: int = 16
    page: int | None = None
    limits: tuple[float, float] | None = None
    precision: Precision = "default"

    @property
    def frozen(self) -> bool:
        """Whether nothing is trained but the scorer fitted."""
        return self.method in FROZEN

    @property
    def tiled(self) -> bool:
        """Whether pictures are cut into tiles."""
        return self.frame == "tiles"

    @property
    def recipe(self) -> Recipe:
        """The names and options alone."""
        options = self.model_options, self.scorer_options
        reads = reading.of(self)
        return Recipe(
            self.method,
            self.model,
            self.scorer,
            {},
            *options,
            self.pretrained,
            self.frame,
            **reads,
            precision=self.precision,
        )

    @property
    def hparams(self) -> dict[str, float]:
        """Hyper-parameters that differ from the method's own."""
        return {} if self.learning_rate is None else {"learning_rate": self.learning_rate}

    @property
    def name(self) -> str:
        """For people."""
        return " + ".join(filter(None, (self.method, self.model, self.scorer)))


def choose(
    headers: Sequence[Header], classes: int, asked: UserChoices, shape: tuple[int, int, int] | None = None
) -> TrainingPlan:
    """Chooses what the user did not.

    Args:
      headers: of the normal images, at least one.
      classes: number of their classes, ≥ 1.
      asked: what the user chose.
      shape: (height px, width px, channels) that the images keep; None: they are resized to a square.

    Returns:
      The `TrainingPlan`.

    Raises:
      DataError: a method that doesn't fit these images.
      WeightsError: weights were named that are not available.
    """
    n, grey = len(headers), all(header.channels == 1 for header in headers)
    side = int(statistics.median(min(header.height, header.width) for header in headers))
    why = []
    found = None
    method = asked.method
    if method is None:
        few, large = n < FEW, (asked.side_px or side) > SMALL_PX
        if few or large:
            reason = f"{n:,} images are few ({FEW:,} would be many)" if few else f"images of {side} px are large"
            method, found, said = _pretrained(asked, reason, classes)
            why.append(said)
            if found is None and not few:
                method, side = _scratch(classes), SMALL_PX
        else:
            method = _scratch(classes)
        if found is None and method != "hog_ocsvm":
            why.append(f"{n:,} images of up to {SMALL_PX} px, {_of(classes)}: {method}, learned from scratch")
    if method not in METHODS:
        raise DataError(f"method {method!r}: choose one of {', '.join(METHODS)}; others need labelled anomalies")
    if method == "centerloss" and classes < 2:
        given = words("as subfolders or as labels of --labels", "as labels")
        raise DataError(f"centerloss needs classes of normal images: give them {given}, at least 2")
    model = asked.model or (BACKBONE if method == "gmm" else Recipe(method).model_name)
    if model in WEIGHTED and found is None:
        found = weights.resolve(asked.weights, model)
    if asked.weights and found is None:
        given = words(f"--weights {asked.weights}", f"weights={asked.weights!r}")
        raise DataError(f"{given}: {method} with {model} takes none; {', '.join(WEIGHTED)} do")
    if method in FROZEN and model not in (*WEIGHTED, *WITHOUT_WEIGHTS):
        name = words("--model", "model")
        why.append(
            f"{NO_WEIGHTS} for {model}, and {method} trains none: its weights are random. Others have some, by {name}: "
            f"{', '.join(WEIGHTED)}"
        )
    if asked.frame == "tiles":
        return _tiled(headers, asked, method, model, found, grey, why)
    side = asked.side_px or (_side(side, model) if shape is None else side)
    if side < SMALLEST_PX:
        larger = words(f"enlarge them by --side-px {SMALLEST_PX} or more", "enlarge them")
        raise DataError(f"images of {side} px: at least {SMALLEST_PX} are needed, {larger}")
    channels, frame = 1 if grey else 3, asked.frame or "whole"
    if shape is None:
        square = found is None or side < PATCHED_PX or frame == "middle"
        height, width = (side, side) if square else _proportions(headers, side)
        colour = "grey" if grey else "RGB"
        few_grey = sum(header.channels == 1 for header in headers)
        if few_grey and not grey:
            colour += f" ({few_grey:,} of {n:,} pictures are grey, and become RGB)"
        why.append(f"{width}×{height} px, {colour}: {FRAMES[frame]}")
        shape = (height, width, channels)
    scorer = asked.scorer or _frozen_scorer(method, classes, found)
    selects = found is not None and method == "gmm" and asked.scorer is None and min(shape[:2]) >= PLACES_PX
    sees = _enlarged(shape, asked.side_px)
    common: dict[str, Any] = {
        "shape": shape,
        "pretrained": found,
        "why": tuple(why),
        "selects": selects,
        "frame": frame,
        "precision": asked.precision,
    }
    return TrainingPlan(method, model, scorer, **common, **_settings(method, model, scorer, side, found, n, sees))


def _tiled(
    headers: Sequence[Header],
    asked: UserChoices,
    method: str,
    model: str,
    found: weights.Weights | None,
    grey: bool,
    why: list[str],
) -> TrainingPlan:
    """The plan for tiles: a pre-trained network, and a scorer that has places and knows no positions.

    Raises:
      DataError: a method or scorer that has no places; pictures too small to be cut.
    """
    if found is None or asked.scorer not in (None, *TILED):
        raise DataError(
            f"--tiles takes method gmm, a pre-trained network and a scorer of patches that knows no positions "
            f"({', '.join(TILED)}), not {method}, {model}" + (f" and {asked.scorer}" if asked.scorer else "")
        )
    smallest = min(min(header.height, header.width) for header in headers)
    side = (asked.side_px or min(LARGE_PX, smallest)) // CELL_PX * CELL_PX
    if side < PATCHED_PX:
        raise DataError(
            f"--tiles: tiles of {side} px, and {PATCHED_PX} are the least; the smallest side is {smallest} px"
        )
    why.append(f"{side}×{side} px, {'grey' if grey else 'RGB'}: {FRAMES['tiles']}")
    scorer = asked.scorer or "subspace"
    return TrainingPlan(
        method,
        model,
        scorer,
        (side, side, 1 if grey else 3),
        pretrained=found,
        why=tuple(why),
        frame="tiles",
        precision=asked.precision,
        selects=asked.scorer is None,
        **_settings(method, model, scorer, side, found, len(headers), tiled=True),
    )


def check_steps(planned: TrainingPlan, asked: UserChoices, steps: int | None) -> None:
    """Refuses steps of a method that trains no network, whether the user named it or it was chosen.

    Args:
      planned: what `choose` made of `asked`.
      asked: what the user chose.
      steps: the user's number; None: none was given.

    Raises:
      DataError: with what to do.
    """
    if steps is None or not planned.frozen:
        return
    given, option = words(f"--steps {steps}", f"steps={steps}"), words("--method", "method")
    chosen = "" if asked.method else ", chosen for these images,"
    trained = ", ".join(name for name in METHODS if name not in FROZEN)
    raise DataError(
        f"{given}: {planned.method}{chosen} trains no network, so there are no steps: leave it out, or name another "
        f"{option} ({trained})"
    )


def _scratch(classes: int) -> str:
    return "centerloss" if classes > 1 else "autoencoder"


def _pretrained(asked: UserChoices, reason: str, classes: int) -> tuple[str, weights.Weights | None, str]:
    """A pre-trained network if there are weights for it, else what needs none; and why."""
    model, gaussian = asked.model or BACKBONE, "a Gaussian" if classes == 1 else "a Gaussian for each class"
    scored = f"scorer {asked.scorer}" if asked.scorer else "the nearest of them" if classes == 1 else gaussian
    if model not in WEIGHTED:
        named = f"scorer {asked.scorer}" if asked.scorer else gaussian
        return "gmm", None, f"{reason}: the features of {model} as they are, and {named}"
    try:
        found = weights.resolve(asked.weights, model)
    except weights.WeightsError as error:
        if asked.weights or asked.model:
            raise
        return "hog_ocsvm", None, f"{reason}, and {NO_WEIGHTS}: hand-made features. {error}"
    network = "an UNTRAINED network's" if found.params is None else "a pre-trained network's"
    return "gmm", found, f"{reason}: {network} features and {scored} ({found.source})"


def _proportions(headers: Sequence[Header], side: int) -> tuple[int, int]:
    """(height px, width px) of the area of such a square and the pictures' own proportions, at most 4 : 1."""
    return _of_area(statistics.median(header.height / header.width for header in headers), side)


def _of_area(ratio: float, side: int) -> tuple[int, int]:
    root = min(max(ratio, 1 / 4), 4) ** 0.5
    height, width = (max(round(x / CELL_PX), 2) * CELL_PX for x in (side * root, side / root))
    return height, width


def _side(side: int, model: str) -> int:
    """The side to bring images to: their own, unless the network asks for another."""
    if model in WEIGHTED:
        return min(side, LARGE_PX)
    side = min(side, SMALL_PX)
    return side - side % 4 if model in ("conv_autoencoder", "svdd_lenet") else side


def nearest(n: int) -> dict[str, int]:
    """Options of `knn` for n images: which neighbour, and how many images are remembered.

    The first for few, and a thousandth of n as in the paper. Memory comes in powers of two, so that programs serve
    folders of other sizes.
    """
    least, most = REMEMBERED
    return {"k": max(n // 1000, 1), "capacity": min(max(1 << (n - 1).bit_length(), least), most)}


def told_of_classes(planned: TrainingPlan, classes: Sequence[str]) -> str | None:
    """Says where a detector of several classes will not say which of them is nearest, by shapes alone.

    Args:
      planned: with the scorer that is fitted.
      classes: names of the classes of normal images.

    Returns:
      A sentence for `TrainingPlan.why`, or None: it will, or there is one class.

    Raises:
      ValueError: a scorer that the network can't feed.
    """
    if len(classes) < 2:
        return None
    built = planned.recipe.build(planned.shape, classes)
    check_scorer(built.spec, built.head_drawn)
    logits = None if built.method.step is None else shapes(built.spec).get("logits")
    if len(classes) in (traced(built.spec).distances.shape[1], logits is not None and logits.shape[-1]):
        return None
    return (
        f"scorer {built.spec.scorer} measures one distance, not one to each of the {len(classes)} classes: all have "
        f"one threshold, and predict leaves nearest_class empty (--scorer mahalanobis names the nearest)"
    )


def _frozen_scorer(method: str, classes: int, found: weights.Weights | None) -> str | None:
    if method != "gmm":
        return None
    return "mahalanobis" if classes > 1 else "knn" if found is not None else None


def _enlarged(shape: tuple[int, int, int], asked: int | None) -> tuple[int, int] | None:
    """(height px, width px) that a pre-trained network enlarges images to; None: it sees them as they are.

    If the user asked for a side, they are enlarged to the least alone.
    """
    least = PATCHED_PX if asked else SEEN_PX
    return _of_area(shape[0] / shape[1], least) if (shape[0] * shape[1]) ** 0.5 < least else None


def _settings(
    method: str,
    model: str,
    scorer: str | None,
    side: int,
    found: weights.Weights | None,
    n: int,
    sees: tuple[int, int] | None = None,
    tiled: bool = False,
) -> dict[str, Any]:
    """Options that were measured to do well on the sets of `experiments.presets`."""
    options: dict[str, Any] = {}
    if found is not None:
        options["model_options"] = {**found.options, **({"side_px": sees} if sees else {})}
    if method == "gmm":
        options["scorer_options"] = {"shrinkage": 0.1} if scorer in (None, "gmm", "mahalanobis") else {}
        if scorer == "knn":
            options["scorer_options"] = nearest(n)
        if scorer in ("padim", "patchcore", "patchwise", "subspace"):
            options["scorer_options"] = dict({**PATCHES, **({} if tiled else ALONE)}.get(scorer, {}))
            options.setdefault("model_options", {})["patch_layers"] = LAYERS
    if method == "hog_ocsvm" and model == "hog":
        options["model_options"] = coarse(side)
    if method == "hog_ocsvm" and scorer in (None, "ocsvm"):
        options["scorer_options"] = {"nu": 0.1, "gamma": 0.5}
    if method == "centerloss":
        shrunk = {"shrinkage": 0.3} if scorer in (None, "mahalanobis", "mahalanobis_perclass") else {}
        options |= {"scorer_options": shrunk, "shift_px": 1, "batch_size": 128}
    if method == "autoencoder":
        options["learning_rate"] = 0.002
    if method == "deep_svdd" and model == "svdd_lenet":
        options["model_options"] = {"width": 8}
    return options


def _of(classes: int) -> str:
    return f"of {classes} classes" if classes > 1 else "of one class"
