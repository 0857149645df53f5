"""The options of `python -m adjax train`, and what they say of who is normal."""

from __future__ import annotations

import argparse
from pathlib import Path

from adjax.data.split import DataError
from adjax.models import MODELS
from adjax.scorers import SCORERS
from adjax.teach import layout, plan

EPILOG = """\
examples:
  python -m adjax train photos/                            normal pictures, in subfolders or not
  python -m adjax train parts/ --out detectors/parts       parts/normal/, parts/anomalous/ and parts/test/good/, ...
  python -m adjax train parts/ --normal good --anomalous crack colour        subfolders whose names don't say it
  python -m adjax train set/ --labels set/train.csv        file,label in each line; --normal 0 says which are normal
  python -m adjax train photos/ --method autoencoder --side-px 32
  python -m adjax train photos/ --weights vgg16.safetensors --model vgg16

At least 50 normal pictures. A fifth of them (20 at least) is held out, so that the threshold can promise how many
normal pictures it flags; with anomalous/ or test/ it says how well it does. Then:
  python -m adjax predict runs/photos photos/ --out scores.csv

Folders and labels are understood by common words, in any case: normal, good, OK; anomalous, defect, NG; mask,
ground_truth; train, test. Many examples, and what becomes of them: docs/layouts.md
"""


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m adjax train",
        description="Make a detector of a folder of normal images.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("folder", type=Path, metavar="FOLDER", help="of normal pictures")
    made.add_argument("--out", type=Path, metavar="DIR", help="the detector (default: runs/NAME OF THE FOLDER)")
    made.add_argument("--labels", type=Path, metavar="CSV", help="a table, file,label, instead of subfolders")
    made.add_argument(
        "--normal",
        "--normal-label",
        nargs="+",
        default=(),
        metavar="NAME",
        help="subfolders, or labels of the table, that are normal; all others are anomalous (default: by their names)",
    )
    made.add_argument(
        "--anomalous",
        nargs="+",
        default=(),
        metavar="NAME",
        help="those that are anomalous; all others are normal. With --normal: those named by neither are left out",
    )
    made.add_argument(
        "--classes",
        action="store_true",
        dest="all_classes",
        help="subfolders, or labels, are all classes of normal ones",
    )
    made.add_argument("--one-class", action="store_true", help="subfolders of normal pictures are no classes")
    made.add_argument("--method", choices=plan.OWN_MODEL, help="default: chosen from the data, and told")
    made.add_argument("--model", choices=MODELS, metavar="NAME", help=f"the network: {', '.join(MODELS)}")
    made.add_argument("--scorer", choices=SCORERS, metavar="NAME", help="features to score: any of adjax.scorers")
    made.add_argument("--side-px", type=int, metavar="N", help="side of the square that pictures are brought to")
    made.add_argument("--weights", metavar="FILE", help="pre-trained weights, .safetensors, .h5 or .pth")
    made.add_argument("--steps", type=int, metavar="N", help="of training (default: by the number of pictures)")
    made.add_argument(
        "--false-positive-rate",
        type=float,
        default=0.05,
        metavar="A",
        help="share of normal pictures that the threshold may flag (default: %(default)s)",
    )
    made.add_argument("--seed", type=int, default=0, metavar="N", help="of all draws (default: %(default)s)")
    return made


def read(chosen: argparse.Namespace) -> layout.Layout:
    """Reads the folder or the table that was chosen.

    Args:
      chosen: what `parser` made of a command line.

    Raises:
      DataError: as of `layout.of_folder` and `layout.of_table`; options that contradict each other.
    """
    given = layout.Given(tuple(chosen.normal), tuple(chosen.anomalous), chosen.all_classes)
    if given.classes and (given.normal or given.anomalous or chosen.one_class):
        raise DataError("--classes says that all are normal: leave out --normal, --anomalous and --one-class")
    if chosen.labels is None:
        return layout.of_folder(chosen.folder, chosen.one_class, given)
    return layout.of_table(chosen.labels, given, chosen.one_class)
