"""Public modules that moved are still there under their old names, and say what the new one is."""

import importlib
import sys

import pytest

MOVED = {
    "adjax.artefact": ("adjax.serialization", ["ArtefactError", "load", "save"]),
    "adjax.foreign": ("adjax.custom", ["detector_from"]),
}


@pytest.mark.parametrize("old", MOVED)
def test_an_old_name_warns_and_gives_the_same(old):
    new, names = MOVED[old]
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"{old} is now {new}"):
        module = importlib.import_module(old)
    for name in names:
        assert getattr(module, name) is getattr(importlib.import_module(new), name)
