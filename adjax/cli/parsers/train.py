"""Options of `python -m adjax train`."""

from __future__ import annotations

import argparse
from pathlib import Path

from adjax.auto import METHODS
from adjax.cli.parsers._common import MAX_SEED, add_reading, names, new_parser, share, whole

EPILOG = """\
examples:
  python -m adjax train photos/                            normal pictures, in subfolders or not
  python -m adjax train parts/ --out detectors/parts       parts/normal/, parts/anomalous/ and parts/test/good/, ...
  python -m adjax train parts/ --normal good --anomalous crack colour        subfolders whose names don't say it
  python -m adjax train set/ --labels set/train.csv        file,label in each line; --normal 0 says which are normal
  python -m adjax train photos/ --method autoencoder --side-px 32
  python -m adjax train boards/ --tiles                    pictures of 4000×3000 px, at full resolution
  python -m adjax train photos/ --weights vgg16.safetensors --model vgg16

At least 50 normal pictures. A fifth of them (20 at least) is held out, so that the threshold can promise how many
normal pictures it flags; with anomalous/ or test/ it prints metrics. A network that is not trained (gmm,
hog_ocsvm) takes 10 or more: of fewer than 100 none is held out, and each calibrates by a fit without it. n pictures
that calibrate can promise a rate of 1/(n + 1): 19 the default of 5 %, 10 no less than --false-positive-rate 0.091.

Pictures are taken whole, see --frame. With a pre-trained network and 24 pictures or more, of 24 px or more, a few
scorers are compared on defects that are made in your normal pictures: those that find most of them are taken, or,
where nothing finds many, the nearest normal picture leads. --scorer NAME takes another. Then:
  python -m adjax predict runs/photos photos/ --out scores.csv      (--maps DIR shows where, if the scorer has places)

Folders and labels are understood by common words, in any case: normal, good, OK; anomalous, defect, NG; mask,
ground_truth; train, test. Many examples, and what becomes of them: docs/layouts.md
"""


def parser() -> argparse.ArgumentParser:
    """The options and their help."""
    models, scorers = names("adjax.models", "MODELS"), names("adjax.scorers", "SCORERS")
    options = new_parser("train", "Make a detector of a folder of normal images.", EPILOG)
    add = options.add_argument
    add("folder", type=Path, metavar="FOLDER", help="of normal pictures")
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="the detector; one that is there is replaced (default: runs/NAME OF THE FOLDER, where that of another "
        "folder is not)",
    )
    add("--labels", type=Path, metavar="CSV", help="a table, file,label, instead of subfolders")
    add(
        "--normal",
        "--normal-label",
        nargs="+",
        default=(),
        metavar="NAME",
        help="subfolders, or labels of the table, that are normal; all others are anomalous (default: by their names)",
    )
    add(
        "--anomalous",
        nargs="+",
        default=(),
        metavar="NAME",
        help="those that are anomalous; all others are normal. With --normal: those named by neither are left out",
    )
    add(
        "--classes",
        action="store_true",
        dest="all_classes",
        help="subfolders, or labels, are all classes of normal ones",
    )
    add("--one-class", action="store_true", help="ignore subfolders of normal pictures: they are one class")
    add("--method", choices=METHODS, help="default: chosen from the data, and printed")
    add("--model", choices=models, metavar="NAME", help=f"the network: {', '.join(models)}")
    add(
        "--scorer",
        choices=scorers,
        metavar="NAME",
        help="features to score: any of adjax.scorers",
    )
    add(
        "--side-px",
        type=whole(8, 4096),
        metavar="N",
        help="side of the square that pictures are brought to; "
        "for a pre-trained network, of a square of their area in their own proportions, in steps of 16 px",
    )
    frame = options.add_mutually_exclusive_group()
    frame.add_argument(
        "--frame",
        choices=("whole", "letterbox", "middle"),
        default="whole",
        help="how a picture is brought to that size: whole, stretched if its proportions are others (the default); "
        "whole between black bars; or the middle of it alone, and predict's column unseen says how much is left out",
    )
    frame.add_argument(
        "--tiles",
        action="store_const",
        dest="frame",
        const="tiles",
        help="for pictures larger than --side-px (here 256 unless named): learn and score them at their own "
        "resolution, in overlapping tiles of that side",
    )
    add(
        "--depth",
        type=int,
        choices=(8, 10, 12, 14, 16),
        help="bits that 16-bit grey pictures use: white is 2^BITS - 1, and pictures with higher values are refused, "
        "here and by predict (default: the least that holds all of these pictures; 16: the whole range)",
    )
    add_reading(options)
    add(
        "--weights",
        metavar="FILE",
        help="pre-trained weights, .safetensors, .h5 or .pth; 'random' for a network that knows nothing (default: the "
        "published ones)",
    )
    add(
        "--precision",
        choices=("default", "highest"),
        default="default",
        help="of the network's matrix products when it scores: highest, float32 on every device, so that scores are "
        "the same on all; default, as accelerators like it, which is faster there (on a CPU there is no difference)",
    )
    add(
        "--steps",
        type=whole(1, 2**31 - 1),
        metavar="N",
        help="of training, if a network is trained (default: by the number of pictures)",
    )
    add(
        "--false-positive-rate",
        type=share,
        default=0.05,
        metavar="A",
        help="share of normal pictures that the threshold may flag (default: %(default)s)",
    )
    add(
        "--scratch",
        type=Path,
        metavar="DIR",
        help="where pixels that memory has no room for lie in a file while it runs (default: beside --out); of a "
        "network that is trained they must fit in memory",
    )
    add("--seed", type=whole(0, MAX_SEED), default=0, metavar="N", help="of all draws (default: %(default)s)")
    return options
