"""The words by which people name folders, labels and columns: one grammar for all that reads them.

Words are whole tokens in any case, separated by anything but letters ("0_normal", "OK-parts"), or by capitals if
each part is known ("NormalImages"): "abnormal" says nothing of normal, "goodyear" nothing of good. The spellings are
those of MVTec, VisA, BTAD, Real-IAD, anomalib, PyOD and scikit-learn; docs/layouts.md shows what becomes of them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from typing import NamedTuple

NORMAL, ANOMALOUS, MASK = "normal", "anomalous", "mask"
TRAIN, TEST, VALIDATION = "train", "test", "validation"
WORDS = {
    NORMAL: frozenset(
        "normal good ok okay inlier inliers nominal healthy conforme fehlerfrei normale 正常 良品 合格".split()
    ),
    ANOMALOUS: frozenset(
        "anomalous anomaly anomalies abnormal abnormality abnormalities bad defect defects defective fault faults "
        "faulty ng nok outlier outliers anomala anomalia anomalie anomalo anormal anormale defaut defecto defectueux "
        "defectuoso defeito defekt difetto difettoso fehler fehlerhaft mangelhaft mauvais schlecht "
        "不合格 不良 不良品 异常 異常 欠陥 缺陷".split()
    ),
    MASK: frozenset("mask masks groundtruth gt segmentation segmentations annotation annotations".split()),
    TRAIN: frozenset("train training".split()),
    TEST: frozenset("test testing holdout".split()),
    VALIDATION: frozenset("val valid validation dev".split()),
}
WHOLE = {NORMAL: frozenset("pass passed".split()), ANOMALOUS: frozenset("fail failed reject rejected".split())}
"""Words that count only if nothing else is said: a boarding pass is no normal one."""
PAIRS = {
    NORMAL: frozenset(
        "negative negatives neg valid bom bon bonne bueno buena buono buona correcto goed gut hege liangpin ryohin "
        "ryouhin seijo seijou zhengchang".split()
    ),
    ANOMALOUS: frozenset(
        "positive positives pos invalid ko buhege buliang cattivo fout furyo furyou furyohin furyouhin ijo ijou "
        "incorrecto malo mala mauvaise mau quexian ruim slecht yichang".split()
    ),
}
"""Words, also whole, that count only if one that says the other stands beside them: ko may be a language, gut a part of
the body, Yichang a city."""
BOOLEANS = (("false", "true"), ("no", "yes"), ("n", "y"), ("f", "t"))
"""Answers to a question that only the column's name may tell: (no, yes)."""
MISSING = frozenset(("nan", "null", "none", "na", "n/a", "?"))
"""Labels that other programs write for an empty cell, in small letters."""
NOT = frozenset("no not non without un kein keine nicht niet ohne sans senza sin zonder".split())
_WITH = frozenset("with has mit avec con met".split())
_PREFIXES = ("un", "non", "no", "in", "im")
_MASKED = re.compile("mask|gt|truth|segment|annot|label", re.IGNORECASE)
SAMPLE = re.compile(r"s(ample)?[ _-]?\d+", re.IGNORECASE)
"""Folders of one part's pictures, as Real-IAD has below OK and NG: no classes."""
_FILLER = frozenset(
    "image images img imgs picture pictures photo photos data dataset set dir folder files sample samples part parts "
    "class classes label labels type case cases one split all public private mixed free".split()
)
_ALL = _FILLER | NOT | frozenset().union(*WORDS.values(), *WHOLE.values(), *PAIRS.values())
_KNOWN = _ALL | {"ground", "truth"}
_OTHER = {NORMAL: ANOMALOUS, ANOMALOUS: NORMAL}


class Meaning(NamedTuple):
    """The meaning of a name.

    Attributes:
      split: TRAIN, TEST or VALIDATION; None: nothing.
      verdict: NORMAL, ANOMALOUS or MASK; None: nothing, or both.
    """

    split: str | None
    verdict: str | None


NOTHING = Meaning(None, None)
HEDGES = frozenset(
    "ab almost barely but fails hardly isn isnt longer maybe nearly never quite semi so sub un unsure with yet".split()
)
"""Words beside which a normal one says nothing."""


def tokens(name: str) -> list[str]:
    """The words of a name, small letters, digits and accents left out.

    Args:
      name: of a folder, a label or a column.

    Returns:
      words; "ground truth" is one.
    """
    found: list[str] = []
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    for token in re.findall(r"[^\W\d_]+", plain):
        parts = [part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", token)]
        found += parts if parts and all(part in _KNOWN for part in parts) else [token.lower()]
    return " ".join(found).replace("ground truth", "groundtruth").split()


def read(name: str, beside: Collection[str] = ()) -> Meaning:
    """What a name says, among those beside it.

    Args:
      name: of a folder, or a label.
      beside: all names there, this one as well.

    Returns:
      its meaning; of a mask no more than that.
    """
    said = tokens(name)
    known = bool(said) and all(word in _ALL for word in said)
    if known and NOT.isdisjoint(said) and not WORDS[MASK].isdisjoint(said):
        return Meaning(None, MASK)
    if len(said) > 1 and said[-1] in WORDS[MASK] and said[:-1] in [tokens(other) for other in beside if other != name]:
        return Meaning(None, MASK)
    splits = {split for split in (TRAIN, TEST, VALIDATION) if not WORDS[split].isdisjoint(said)} if known else set()
    if VALIDATION in splits and not any(WORDS[TRAIN] & {*tokens(other)} for other in beside):
        splits.remove(VALIDATION)  # valid/ beside invalid/
    return Meaning(splits.pop() if len(splits) == 1 else None, verdict(said, beside))


def verdict(said: list[str], beside: Collection[str] = ()) -> str | None:
    """Decides by words whether a name means normal or anomalous; "no defect" and "defect-free" are normal.

    Args:
      said: a name's `tokens`.
      beside: all names there.

    Returns:
      NORMAL or ANOMALOUS; None: neither, or both.
    """
    found = {_turned(said, at, which) for at, word in enumerate(said) for which in _OTHER if word in WORDS[which]}
    plain = [word for word in said if word not in _FILLER | WORDS[TRAIN] | WORDS[TEST]]
    if len(plain) == 1:
        found |= {which for which in _OTHER if plain[0] in WHOLE[which]}
        for which, other in _OTHER.items():
            partners = PAIRS[other] | WORDS[other]
            if plain[0] in PAIRS[which] and any(not partners.isdisjoint(tokens(name)) for name in beside):
                found.add(which)
    return None if len(found) != 1 or (found == {NORMAL} and _hedged(said)) else found.pop()


def unanswered(names: Iterable[str]) -> tuple[str, str] | None:
    """Names that answer a question nobody asked, such as true and false.

    Args:
      names: all names at one place.

    Returns:
      the answers (no, yes), as spelt there, if the names are these two, or one of the longer; None: they aren't.
    """
    spelt = {name.lower(): name for name in names}
    for pair in BOOLEANS:
        if spelt and set(spelt) <= set(pair) and (len(spelt) == 2 or len(pair[0]) > 1):
            return spelt.get(pair[0], pair[0]), spelt.get(pair[1], pair[1])
    return None


def opposites(names: Iterable[str]) -> tuple[str, str] | None:
    """Two names of which one denies the other: tumor and no_tumor, ripe and unripe, mit_riss and ohne_riss.

    Args:
      names: all names at one place.

    Returns:
      the first such pair in the order of the alphabet, (said, denied); None: there is none.
    """
    said: dict[str, str] = {}
    denied: dict[str, str] = {}
    for name in sorted(names):
        words = [word for word in tokens(name) if word not in _WITH]
        bare = [word for word in words if word not in NOT and word != "free"]
        if len(bare) < len(words):
            denied.setdefault(" ".join(bare), name)
        elif bare:
            said.setdefault(" ".join(bare), name)
    for what, name in said.items():
        other = next((said[f"{p}{what}"] for p in _PREFIXES if f"{p}{what}" in said), denied.get(what))
        if other is not None:
            return name, other
    return None


def doubtful_masks(names: Collection[str]) -> set[str]:
    """Folders called mask among such as say nothing: masks of them, or a class of its own.

    Args:
      names: all folders at one place.
    """
    others = [name for name in names if read(name, names).verdict != MASK]
    if not others or any(
        read(name, names) != NOTHING or _FILLER.issuperset(tokens(name)) for name in others if tokens(name)
    ):
        return set()
    sure = {"groundtruth", "gt"}
    return {
        name
        for name in names
        if read(name, names).verdict == MASK and len(tokens(name)) == 1 and sure.isdisjoint(tokens(name))
    }


def mask_files(names: Iterable[str]) -> set[str]:
    """Pictures that are masks of others by their names: 7_mask.png beside 7.png, or in a folder of its own below it.

    Args:
      names: paths, separated by "/".

    Returns:
      those that are masks.
    """
    names = list(names)
    if not any(map(_MASKED.search, names)):
        return set()
    keys = {name: _key(name) for name in names}
    pictures = {(folder, key) for folder, key, mask in keys.values() if not mask}
    return {
        name
        for name, (folder, key, mask) in keys.items()
        if mask and ((folder, key) in pictures or (folder.rpartition("/")[0], key) in pictures)
    }


def _key(name: str) -> tuple[str, tuple[str, ...], bool]:
    """(folder, what identifies the picture, whether its name says mask)."""
    folder, _, file = name.rpartition("/")
    parts = re.findall(r"[^\W_]+", file.rpartition(".")[0].lower())
    marks = WORDS[MASK] | {"label"}
    mask = len(parts) > 1 and (parts[-1] in marks or parts[0] in marks or parts[-2:] == ["ground", "truth"])
    dropped = marks | {"ground", "truth"} if mask else frozenset()
    key = tuple(part for part in parts if part not in dropped | {"img", "image"})
    return folder, key, mask and bool(key)


def _hedged(said: list[str]) -> bool:
    """Tells whether a normal word is qualified: not yet ok, almost good, ok to reject."""
    verdicts = WORDS[NORMAL] | WORDS[ANOMALOUS] | WHOLE[NORMAL] | WHOLE[ANOMALOUS]
    far = any(word in NOT and said[at + 1 : at + 2] and said[at + 1] not in verdicts for at, word in enumerate(said))
    return far or not HEDGES.isdisjoint(said) or (len(said) > 1 and not WHOLE[ANOMALOUS].isdisjoint(said))


def _turned(said: list[str], at: int, which: str) -> str:
    negated = (at > 0 and said[at - 1] in NOT) != (said[at + 1 : at + 2] == ["free"])
    return _OTHER[which] if negated else which
