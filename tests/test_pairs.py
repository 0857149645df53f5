"""Every method with every scorer: it works or is refused before anything is trained, and no options stray."""

from __future__ import annotations

import pytest
from tiers import daily

from adjax import methods, scorers
from adjax.auto import plan
from adjax.data.io.upload import Header
from adjax.extraction import check_scorer
from adjax.pipeline import Recipe
from experiments import members, pairs
from experiments.config import parse

FOUND = pairs.read(pairs.RESULTS)
METHODS = sorted(methods.METHODS)


def test_every_pair_was_tried_and_none_failed():
    assert sorted(FOUND) == METHODS
    for row in FOUND.values():
        assert sorted(row) == sorted(scorers.SCORERS)
        assert all(said == pairs.WORKS or said.startswith("refused: scorer ") for said in row.values())
        assert pairs.WORKS in row.values()


@pytest.mark.parametrize("method", [*daily(METHODS, "hog_ocsvm")])
def test_shapes_alone_tell_which_pairs_work(method):
    images, _, classes = pairs.images_for(method)
    shape = images.shape[1:]
    for scorer, said in FOUND[method].items():
        assert (refusal(method, scorer, shape, classes) is None) == (said == pairs.WORKS), scorer


def refusal(method: str, scorer: str, shape: tuple[int, int, int], classes: tuple[str, ...]) -> str | None:
    try:
        check_scorer(Recipe(method, scorer=scorer).build(shape, classes).spec)
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_scorer_gets_its_own_options_and_no_others(method):
    """`--method hog_ocsvm --scorer knn` once ended in "unexpected keyword argument 'gamma'"."""
    for scorer in set(scorers.SCORERS) - {"fused", "weighted_energy"}:
        if method in plan.METHODS:
            choices = plan.UserChoices(method, "hog" if method == "gmm" else None, scorer)
            scorers.make(scorer, **plan.choose([Header(28, 28, 1, "")] * 2000, 2, choices).scorer_options)
        config = parse(["--method", method, "--scorer", scorer, "--dataset", "digits"])
        recipe = members.recipe(config)
        assert recipe.scorer == scorer
        scorers.make(scorer, **recipe.scorer_options)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_pair_is_what_was_found(method):
    """A sample: `python -m experiments.pairs` tries them all."""
    given = pairs.trained(method)
    for scorer in sorted(scorers.SCORERS)[METHODS.index(method) % 9 :: 9]:
        said, found = pairs.pair(given, scorer), FOUND[method][scorer]
        assert said.split(";")[0] == found.split(";")[0], scorer  # the rest names all others


def test_what_no_network_has_is_refused():
    given = pairs.Trained(Recipe("random").build((8, 8, 1), ("normal",)).spec, {}, None, None, None, {})
    assert pairs.pair(given, "fused").startswith("refused: scorer 'fused' needs the options")
    assert pairs.pair(given, "padim").startswith("refused: scorer 'padim' can't be fed by method 'random'")
