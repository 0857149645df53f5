"""Normal labels of a column: by its name, by words and numbers in it, or as the user says; never guessed."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from adjax.data import words
from adjax.data.split import DataError

NONE = frozenset(("none", "nothing", "-"))
"""What stands for normal in a column of defects, if they are words."""
_ANSWERS = frozenset(("true", "false", "yes", "no"))


class Labels(NamedTuple):
    """The meaning of a column's labels.

    Attributes:
      classes: label → class of normal pictures.
      anomalous: labels; None: all that are no classes.
      said: somebody said so; False: by words.
    """

    classes: dict[str, str]
    anomalous: frozenset[str] | None
    said: bool

    def verdict(self, label: str) -> str | None:
        """`words.NORMAL`, `words.ANOMALOUS`, or None for one that is left out; also for labels of another table."""
        if label in self.classes:
            return words.NORMAL
        if self.anomalous is not None and label not in self.anomalous:
            return None
        alike = _key(label) in map(_key, self.classes) or words.read(label).verdict == words.NORMAL
        return words.NORMAL if alike and not self.said else words.ANOMALOUS


def understand(
    where: object,
    column: str,
    labels: Iterable[str],
    normal: Sequence[str] = (),
    anomalous: Sequence[str] = (),
    classes: bool = False,
) -> Labels:
    """Determines which labels are normal.

    Args:
      where: of the table, for errors.
      column: its name, "" if it has none. `is_normal` and `defect` say what 1 and True mean. With other names, 0 is
        normal of 0 and 1, and 1 of 1 and −1.
      labels: the training table's.
      normal: these are normal, and all others anomalous.
      anomalous: these are anomalous, and all others normal; with `normal`, labels in neither are left out.
      classes: all labels are classes of normal pictures, except those whose words mean anomalous.

    Returns:
      The `Labels`.

    Raises:
      DataError: it is undecidable, or none is normal; a label that isn't there.
    """
    known = sorted(set(labels))
    refuse_missing(where, column, known, normal, anomalous)
    if classes:
        chosen = [label for label in known if words.read(label, known).verdict != words.ANOMALOUS]
        return Labels({label: label for label in chosen}, None, True)
    if normal or anomalous:
        check_names(where, "labels", known, normal, anomalous)
        chosen = list(normal) or [label for label in known if label not in anomalous]
        return Labels({label: label for label in chosen}, frozenset(anomalous) if normal and anomalous else None, True)
    sense = words.verdict(words.tokens(column))
    about = (
        f"{where}: the column {column!r} holds {', '.join(known[:20])}"
        if column
        else f"{where}: the labels are {', '.join(known[:20])}"
    )
    if (answers := words.unanswered(known)) is not None:
        if sense is None:
            raise DataError(
                f"{about}, and it is undecidable which is normal: write --normal-label {answers[0]} or --normal-label "
                f"{answers[1]}, or call the column is_normal or is_anomaly"
            )
        chosen = [label for label in known if (label.lower() == answers[1].lower()) == (sense == words.NORMAL)]
    elif None not in (numbers := {label: _number(label) for label in known}).values():
        wanted = _normal_number({number for number in numbers.values() if number is not None}, sense, about)
        chosen = [label for label in known if wanted is None or numbers[label] == wanted]
        if wanted is None:
            return Labels({label: label for label in chosen}, None, False)
    else:
        said = [label for label in known if _answer(label)]
        counted = any(number not in (None, -1, 0, 1) for number in numbers.values())
        if sense is None and said and not counted:
            others = [label for label in known if label not in said]
            if all(words.read(label, known).verdict != words.NORMAL for label in others):
                raise _mixed(about, f"{', '.join(said)} may say it or be classes", f"{others[0]} is neither")
        chosen = _normal_words(known, sense, about)
    if not chosen:
        raise DataError(f"{about}, none of them normal: add normal pictures, or say which are by --normal-label LABEL")
    first: dict[object, str] = {}
    return Labels({label: first.setdefault(_key(label), label) for label in chosen}, None, False)


def check_names(
    where: object, what: str, known: Sequence[str], normal: Sequence[str], anomalous: Sequence[str]
) -> None:
    """Checks the names that --normal and --anomalous give.

    Args:
      where: the path, for errors.
      what: "labels", "folders" or the like, for errors.
      known: names to choose from.
      normal: names given as normal.
      anomalous: names given as anomalous.

    Raises:
      DataError: an unknown name, or one given as both.
    """
    for option, names in (("--normal", normal), ("--anomalous", anomalous)):
        if missing := [name for name in names if name not in known]:
            raise DataError(f"{option} {', '.join(missing)}: the {what} of {where} are {', '.join(known[:20])}")
    if both := sorted(set(normal) & set(anomalous)):
        raise DataError(f"{', '.join(both)} can't be both --normal and --anomalous: take it out of one")


def refuse_missing(
    where: object, column: str, labels: Iterable[str], normal: Sequence[str], anomalous: Sequence[str]
) -> None:
    """Refuses what other programs write for an empty cell, unless the user says what it means.

    Args:
      where: of the table, for errors.
      column: its name, "" if it has none.
      labels: of the table.
      normal, anomalous: labels that the user names.

    Raises:
      DataError: such a label.
    """
    known = sorted(set(labels))
    if normal and anomalous:  # the others are left out
        return
    of_defects = words.verdict(words.tokens(column)) == words.ANOMALOUS and not any(map(_answer, known))
    missing = words.MISSING - NONE if of_defects else words.MISSING
    for label in known:
        if label.lower() in missing and label not in (*normal, *anomalous):
            said = shlex.quote(label)
            raise DataError(
                f"{where}: some lines have no label, but {label!r}: fill it in, or take these lines out. --normal "
                f"{said} or --anomalous {said} says that it is one; --normal and --anomalous together leave out what "
                "neither names"
            )


def _mixed(about: str, some: str, other: str) -> DataError:
    return DataError(
        f"{about}, and it is undecidable which are normal: {some}, and {other}. Write --normal LABEL (all others are "
        "anomalous), that and --anomalous LABEL (those named by neither are left out), or --classes if all are normal"
    )


def _normal_number(values: set[float], sense: str | None, about: str) -> float | None:
    """The number that is normal; None: all are, as classes."""
    if sense is None:
        if values in ({0, 1}, {-1, 1}):
            return 0 if 0 in values else 1
        if odd := sorted(value for value in values if value < 0 or not value.is_integer()):
            raise _mixed(about, "whole numbers from 0 on are classes", f"{odd[0]:g} isn't one")
        return None
    whole = all(value.is_integer() for value in values)
    if sense == words.NORMAL and (values <= {-1, 1} or values <= {0, 1}):
        return 1
    if sense == words.ANOMALOUS and whole and min(values) >= 0:
        return 0
    raise DataError(f"{about}, and it is undecidable which number is normal: write --normal-label LABEL")


def _normal_words(known: list[str], sense: str | None, about: str) -> list[str]:
    """Labels that say normal; without such those that say neither."""
    verdicts = {label: words.read(label, known).verdict for label in known}
    if sense == words.ANOMALOUS and not any(map(_answer, known)):
        verdicts |= {label: words.NORMAL for label in known if label.lower() in NONE}
    normal = [label for label in known if verdicts[label] == words.NORMAL]
    if normal:
        return normal
    if sense is None and (pair := words.opposites(known)) is not None:
        said, denied = pair
        raise DataError(
            f"{about}: {said} and {denied} are opposites, and it is undecidable which is normal: write --normal "
            f"{shlex.quote(denied)} --anomalous {shlex.quote(said)}, or the other way round, or --classes if both are"
        )
    if sense is not None:
        raise DataError(f"{about}, and none says that it is normal: write --normal-label LABEL")
    return [label for label in known if verdicts[label] != words.ANOMALOUS]


def _answer(label: str) -> bool:
    """Whether a label may answer if a picture is normal, or anomalous."""
    number = _number(label)
    return label.lower() in _ANSWERS if number is None else number in (-1, 0, 1)


def _number(label: str) -> float | None:
    try:
        number = float(label)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _key(label: str) -> object:
    """What two spellings of one label share."""
    number = _number(label)
    return label.casefold() if number is None else number
