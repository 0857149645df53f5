"""Options of `python -m adjax predict`."""

from __future__ import annotations

import argparse
from pathlib import Path

from adjax.cli.parsers._common import finite, new_parser, share, whole
from adjax.predict import THREADS

EPILOG = """\
examples:
  python -m adjax predict runs/parts photos/ --out scores.csv
  python -m adjax predict runs/parts photos/ --out scores.parquet --false-positive-rate 0.01
  python -m adjax predict runs/parts photos/ --out scores.jsonl --copy-flagged flagged/
  python -m adjax predict runs/digits test/ --out scores.csv --submission answer.csv
  python -m adjax predict runs/parts /shared/photos --out scores.parquet --engine ray --ray-address HOST:6379

SOURCE is one of
  photos/                        picture files of a folder, and of its subfolders
  'photos/2026-*/**/*.jpg'       those that fit a pattern: ** stands for any folders
  s3://bucket/photos             the same of any file system of fsspec's (gs://, hf://, ...): pip install s3fs, gcsfs,
                                 huggingface_hub ...; keys are theirs to find, never in the URL
  'shards/*.tar'                 members of tar files, as WebDataset has them; of a URL, too
  'data/*.parquet'               rows of Parquet files: the column of bytes, or 'data/*.parquet#COLUMN'

One row per picture: path, status (ok, error), error, width, height, mode, score (higher = more anomalous), p_value
(share of normal images at least as anomalous), decision (normal, anomalous), nearest_class (of several classes of
normal pictures; empty where the scorer has one distance for all of them, as train says), probability (of being
anomalous, by the network itself; empty for one that gives none), uncertain (so near to the threshold that other
held-out images might have decided otherwise), unseen (share of the picture's area that the detector does not look at),
boxes (where it is anomalous: left,top,width,height in px and the score, one box a region; the whole picture where it
is as a whole, no place of it above the threshold; of detectors with places), threshold, detector (SHA-256 of its
manifest).

--submission is for formats that ask for a probability: file,probability, the network's own if it gives one. If not it
is 1 - p_value, which ranks pictures as their p-values do and is no probability: half of all normal pictures have 0.5 or
more. A file that can't be read has 1.

report.html, beside the table, shows the same to a person: it opens from disk, and its slider tells how many pictures
another threshold would flag, and which.

A file that can't be read is a row that says why. Ctrl-C leaves a valid table of what is done; the same command goes on
from there, and later scores only files that are new or, of a folder, have changed, and tries again those that could
not be read (SCORES.journal remembers). What becomes of transparent, CMYK, 16-bit and turned pictures: docs/layouts.md.
"""


def parser() -> argparse.ArgumentParser:
    """The options and their help."""
    options = new_parser("predict", "Score the pictures of a folder, a bucket or shards: one row each.", EPILOG)
    add = options.add_argument
    add("detector", type=Path, metavar="DETECTOR", help="run directory that holds detector/, or a detector")
    add("source", metavar="SOURCE", help="a folder, a pattern, a URL, tar or Parquet files (see below)")
    add("--out", type=Path, required=True, metavar="SCORES", help="the table: .csv, .jsonl or .parquet")
    add(
        "--false-positive-rate",
        type=share,
        metavar="A",
        help="flag a normal image with probability at most A (default: the detector's own threshold)",
    )
    add("--copy-flagged", type=Path, metavar="DIR", help="copy the files that are flagged to DIR")
    add(
        "--maps",
        type=Path,
        metavar="DIR",
        help="of each flagged picture NAME.map.tif, the score of each pixel, or its error in a reconstruction, and "
        "NAME.overlay.png, to look at",
    )
    add(
        "--submission",
        type=Path,
        metavar="FILE",
        help="also write file,probability as CSV: the network's own, or 1 - p_value (see below)",
    )
    add("--report", type=Path, metavar="FILE", help="the page (default: report.html beside SCORES)")
    add("--no-report", action="store_true", help="write no page")
    add("--follow-links", action="store_true", help="follow symbolic links, each folder once")
    add("--hidden", action="store_true", help="also take files and folders that begin with a dot")
    add("--any-name", action="store_true", help="also take files that aren't named like pictures")
    add("--fresh", action="store_true", help="start again, whatever was done before")
    add("--batch-size", type=whole(1, 1_000_000), metavar="N", help="images at once (default: by their size)")
    add("--threads", type=whole(1, 1024), default=THREADS, metavar="N", help="that decode (default: %(default)s)")
    add("--engine", choices=("local", "ray"), default="local", help="what scores: this process, or a Ray cluster")
    ray = options.add_argument_group("options of --engine ray")
    add = ray.add_argument
    add("--ray-address", metavar="HOST:PORT", help="the cluster (default: RAY_ADDRESS, or one started for this run)")
    add("--workers", type=whole(1, 100_000), metavar="N", help="processes that score (default: as many as fit)")
    add("--worker-cpus", type=whole(1, 1024), metavar="N", help="CPUs that each takes (default: --threads)")
    add("--worker-gpus", type=_gpus, default=0.0, metavar="N", help="GPUs that each takes (default: none)")
    return options


def _gpus(text: str) -> float:
    """A share of one GPU, or a whole number of them."""
    value = finite(text)
    if value < 0 or (value > 1 and value != int(value)):
        raise argparse.ArgumentTypeError(f"{value:g}: must be a whole number, or a share of one GPU between 0 and 1")
    return value
