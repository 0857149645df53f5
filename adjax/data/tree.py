"""The use of each picture by the folders above it: to train on, to evaluate on, or to leave out, and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from adjax.data import ambiguous, words
from adjax.data.ambiguous import Folders, Place
from adjax.data.labels import check_names
from adjax.data.split import DataError
from adjax.data.words import ANOMALOUS, MASK, NORMAL, TEST, TRAIN, VALIDATION


class Sorted(NamedTuple):
    """Pictures by what is known of them, paths separated by "/".

    Attributes:
      normal: path → class, "" for none; `classes` are in order.
      classes: two or more, or the one folder that holds all normal pictures; (): none.
      test_normal, anomalous: to evaluate on.
      passed_over: why → how many.
      places: path → its folders, and what they say; of all but masks.
    """

    normal: dict[str, str]
    classes: tuple[str, ...]
    test_normal: list[str]
    anomalous: list[str]
    passed_over: Counter[str]
    places: dict[str, Place]


class FolderNames(NamedTuple):
    """What the user says: names of normal and of anomalous folders; or that all which say nothing are classes."""

    normal: Sequence[str] = ()
    anomalous: Sequence[str] = ()
    classes: bool = False


def sort(root: Path, names: Sequence[str], given: FolderNames, mask_class: bool = False) -> Sorted:
    """Sorts the pictures of a folder into training, evaluation and skipped.

    Args:
      root: for errors; nothing is opened.
      names: of pictures under it, separated by "/".
      given: names of normal or anomalous folders. With one of them, all others are the opposite; with both, the rest is
        left out.
      mask_class: take a folder called mask, beside nothing but classes, for a class as well.

    Returns:
      The `Sorted`.

    Raises:
      DataError: a folder that may be normal or anomalous, or a mask or a class; a name without a folder.
    """
    passed_over: Counter[str] = Counter()
    masks = words.mask_files(names)
    beside = _beside(name for name in names if name not in masks)
    known = sorted({folder for folders in beside.values() for folder in folders})
    check_names(root, "folders", known, given.normal, given.anomalous)
    above: dict[str, Place] = {}  # by folder, since there may be a million pictures
    places = []
    for name in names:
        if name not in masks:
            folder = name.rpartition("/")[0]
            if folder not in above:
                above[folder] = _place(name, beside, given, mask_class)
            places.append(above[folder]._replace(name=name))
    passed_over["masks"] = len(masks) + sum(place.verdict == MASK for place in places)
    places = _unwrapped([place for place in places if place.verdict != MASK])
    if given == FolderNames():
        ambiguous.refuse(root, places, beside)

    named = given.normal or given.anomalous
    split_here = any(place.split == TRAIN for place in places)
    normal_here = any(place.verdict == NORMAL and place.at == 0 and place.split != TEST for place in places)
    learned, anomalous, tests = [], [], []
    for place in places:
        verdict = place.verdict or _by_default(place, given)
        if place.split == VALIDATION:
            passed_over["validation"] += 1
        elif place.split == TEST:
            tests.append(place)
        elif verdict == ANOMALOUS:
            anomalous.append(place.name)
        elif verdict is None and (given.normal and given.anomalous and place.plain):
            passed_over["in neither --normal nor --anomalous"] += 1
        elif split_here and place.split is None and (verdict is None or (place.plain[:1] == (0,) and not named)):
            passed_over["beside train/"] += 1
        elif verdict is None and place.split is None and normal_here and not place.plain:
            passed_over["beside the folders"] += 1
        else:
            learned.append(place)
    normal, classes = _classes(learned)
    test_normal: list[str] = []
    trained = {*classes, *(place.folders[place.at] for place in learned if place.at is not None)}
    for place in tests:
        verdict = place.verdict or _by_class(place, trained)
        if verdict is None:
            passed_over["in test/ without a label"] += 1
        else:
            (test_normal if verdict == NORMAL else anomalous).append(place.name)
    jpegs = _jpegs(anomalous)
    kept = [name for name in anomalous if not (name.lower().endswith(".png") and _stem(name) in jpegs)]
    passed_over["masks"] += len(anomalous) - len(kept)  # Real-IAD has the mask of each beside it
    return Sorted(normal, classes, test_normal, kept, +passed_over, {place.name: place for place in places})


def refuse_lone_test(root: Path, names: Sequence[str], sorted_: Sorted) -> None:
    """Refuses pictures to evaluate on without any to train on.

    Args:
      root: for the error.
      names: of all pictures under it.
      sorted_: what `sort` made of them, nothing to train on among them.

    Raises:
      DataError: a folder says test.
    """
    if (test := _test_folder([*sorted_.test_normal, *names])) is not None:
        itself = f"; or name {root / test} itself, to learn from what is normal in it" if sorted_.test_normal else ""
        raise DataError(
            f"{root} has pictures to evaluate on, {listed(names)}, and none to train on: put normal ones into "
            f"{(root / test).parent / TRAIN}{itself}"
        )


def refuse_anomalous_names(root: Path, names: Iterable[str]) -> None:
    """Refuses files that call themselves anomalous, such as bad_17.png, unless a folder calls them normal.

    Args:
      root: for the error.
      names: of pictures that would be trained on as normal.

    Raises:
      DataError: there is one.
    """
    called = [name for name in names if _called_anomalous(name)]
    if called:
        raise DataError(
            f"{root}: {len(called):,} pictures that would be trained on as normal have anomalous names, the first "
            f"{called[0]}: put them into {root / 'anomalous'}, or say by --classes that all are normal"
        )


def _called_anomalous(name: str) -> bool:
    *folders, file = name.split("/")
    if any(words.verdict(words.tokens(folder)) == NORMAL for folder in folders):
        return False
    return words.verdict(words.tokens(file.rpartition(".")[0])) == ANOMALOUS


def listed(names: Iterable[str]) -> str:
    """The folders of pictures, for people: two levels of them.

    Args:
      names: paths, separated by "/".
    """
    return some(sorted({"/".join([*name.split("/")[:-1][:2], ""]) or "no subfolder" for name in names}))


def some(names: Iterable[str]) -> str:
    """The first ten, for people, and how many more there are."""
    names = list(names)
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _test_folder(names: Iterable[str]) -> str | None:
    """The first folder above any of them that says test."""
    for name in names:
        folders = name.split("/")[:-1]
        for i, folder in enumerate(folders):
            if words.read(folder).split == TEST:
                return "/".join(folders[: i + 1])
    return None


def _beside(names: Iterable[str]) -> Folders:
    """Folder → the folders in it that hold pictures."""
    beside: Folders = defaultdict(set)
    for name in names:
        folders = tuple(name.split("/")[:-1])
        for i, folder in enumerate(folders):
            beside[folders[:i]].add(folder)
    return beside


def _place(name: str, beside: Folders, given: FolderNames, mask_class: bool) -> Place:
    folders = tuple(name.split("/")[:-1])
    said = {**dict.fromkeys(given.normal, NORMAL), **dict.fromkeys(given.anomalous, ANOMALOUS)}
    split = verdict = at = split_at = None
    plain = []
    for i, folder in enumerate(folders):
        meaning = words.read(folder, beside[folders[:i]])
        if mask_class and folder in words.doubtful_masks(beside[folders[:i]]):
            meaning = words.NOTHING
        if folder in said:
            meaning = words.Meaning(meaning.split if meaning.verdict else None, said[folder])
        elif said and split != TEST and meaning.split != TEST and meaning.verdict in (NORMAL, ANOMALOUS):
            meaning = meaning._replace(verdict=None)  # the names that were given count, and no others
            plain.append(i)
        if meaning.verdict == MASK:
            return Place(name, folders, None, MASK, i, (), None)
        if meaning.split and split is None:
            split, split_at = meaning.split, i
        if meaning.verdict and (verdict is None or (verdict == NORMAL and meaning.verdict == ANOMALOUS)):
            verdict, at = meaning.verdict, i
        elif meaning == words.NOTHING and i not in plain:
            plain.append(i)
    return Place(name, folders, split, verdict, at, tuple(plain), split_at)


def _unwrapped(places: list[Place]) -> list[Place]:
    """Drops folders that say nothing and hold all pictures, if something is said below them."""
    while places and all(place.plain[:1] == (0,) and place.folders[0] == places[0].folders[0] for place in places):
        if all(place.split is None and place.verdict is None for place in places):
            break
        places = [
            place._replace(
                folders=place.folders[1:],
                at=None if place.at is None else place.at - 1,
                plain=tuple(i - 1 for i in place.plain[1:]),
                split_at=None if place.split_at is None else place.split_at - 1,
            )
            for place in places
        ]
    return places


def _by_default(place: Place, given: FolderNames) -> str | None:
    """What a picture is that no word speaks of, if names were given: the other."""
    if not place.plain or bool(given.normal) == bool(given.anomalous):
        return None
    return ANOMALOUS if given.normal else NORMAL


def _by_class(place: Place, trained: set[str]) -> str | None:
    """What a picture of test/ is whose folders say nothing: normal if they name a class that is trained on."""
    assert place.split_at is not None
    below = [i for i in place.plain if i > place.split_at]
    named = [place.folders[i] for i in below or place.plain]
    return (NORMAL if named[0] in trained else ANOMALOUS) if named else None


def _classes(learned: list[Place]) -> tuple[dict[str, str], tuple[str, ...]]:
    """(path → class, classes): folders below train/, or below the one that says normal."""
    keys = {
        place.name: [folder for i, folder in enumerate(place.folders) if i != place.split_at or i == place.at]
        for place in learned
    }
    inside = all(place.at == 0 for place in learned) and len({place.folders[0] for place in learned}) == 1
    if inside:
        keys = {name: key[1:] for name, key in keys.items()}
    if not all(keys.values()) or (inside and all(words.SAMPLE.fullmatch(key[0]) for key in keys.values())):
        return dict.fromkeys(keys, ""), ()
    return {name: key[0] for name, key in keys.items()}, tuple(sorted({key[0] for key in keys.values()}))


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _jpegs(names: Iterable[str]) -> set[str]:
    return {_stem(name) for name in names if name.lower().endswith((".jpg", ".jpeg"))}
