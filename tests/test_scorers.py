"""Every scorer keeps the contract of `adjax.types.Scorer`."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import jaxtyped
from scorer_cases import (
    BATCHES,
    CASES,
    FAMILIES,
    FITS,
    MAHALANOBIS,
    NO_LENGTH,
    THOROUGH,
    D,
    K,
    N,
    assert_close,
    assert_same_scores,
    each_family,
    each_fit,
    each_scorer,
    images,
    make,
    outputs,
    stats_of,
    strangers,
    tools,
)
from tiers import daily

from adjax import scorers

pytestmark = pytest.mark.rounding


@pytest.fixture(autouse=True, scope="module")
def _strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@each_scorer
def test_a_factory_computes_nothing(name):
    """First called within a trace, its arrays would belong to that."""

    def nothing():
        make(name)
        return ()

    assert not jax.make_jaxpr(nothing)().eqns


@each_scorer
def test_strangers_score_higher_than_acquaintances(name):
    x, y = images()
    tool = tools(name)
    state = tool.fit(x, y)
    score, distances = map(np.asarray, tool.both(state, outputs(x)))
    assert score.shape == (N,)
    assert score.dtype == np.float32
    assert distances.shape[0] == N
    far = np.asarray(tool.score(state, outputs(strangers(name, x))))
    assert far.min() > score.max()
    assert np.all(distances.min(1) == score)


@each_scorer
def test_scores_have_the_type_that_their_signature_says(name):
    """Shape and dtype, `Float[Array, " N"]`, checked by beartype; traced, not computed."""
    check = pytest.importorskip("typechecked").check
    tool, (x, y) = tools(name), images()
    assert "Float[Array, ' N']" in str(inspect.signature(tool.scorer.score)).replace('"', "'")
    jax.eval_shape(jaxtyped(tool.scorer.score, typechecker=check), tool.fit(x, y), outputs(x))


@settings(max_examples=10, deadline=None)
@given(data=st.data())
@each_fit
def test_fitting_is_one_pass_in_any_order_chunking_and_tree(name, data):
    """Chunks are masks of one shape here, so masked rows, whatever is in them, don't count."""
    x, y = images()
    tool = tools(name)
    seed = data.draw(st.integers(0, 999))
    chunk = np.random.default_rng(seed).integers(0, data.draw(st.integers(1, 5)), N)
    parts = []
    for c in data.draw(st.permutations(range(chunk.max() + 1))):
        dirt = np.where((chunk == c)[:, None], x, np.random.default_rng(seed).choice([np.nan, np.inf, 1e30, 0]))
        own = tool.update(tool.scorer.init(D, K), outputs(dirt), y, chunk == c)
        if parts and data.draw(st.booleans()):  # a running sum, or parts merged in the end
            parts[-1] = tool.update(parts[-1], outputs(dirt), y, chunk == c)
        else:
            parts.append(own)
    while len(parts) > 1:
        i = data.draw(st.integers(0, len(parts) - 2))
        parts[i : i + 2] = [tool.merge(*parts[i : i + 2])]
    assert_same_scores(name, tool.finalize(parts[0]), tool.fit(x, y), x, rtol=1e-3)


@each_fit
def test_nothing_is_neutral(name):
    """Merging with the statistics of no image changes nothing, from either side, bit for bit."""
    x, y = images()
    tool = tools(name)
    none = tool.scorer.init(D, K)
    some = tool.update(none, outputs(x), y, np.ones(N, bool))
    nobody = tool.update(some, outputs(x), y, np.zeros(N, bool))
    for merged in (tool.merge(none, some), tool.merge(some, none), nobody):
        jax.tree.map(np.testing.assert_array_equal, merged, some)


@pytest.mark.parametrize(
    ("name", "batch_size"), [*daily(BATCHES, *((name, 1000) for name in FAMILIES if name in FITS))]
)
def test_the_batch_size_of_a_fit_does_not_matter(name, batch_size):
    x, y = images()
    tool = tools(name)
    state = tool.finalize(jax.jit(stats_of(tool.scorer, batch_size))(x, y))
    assert_same_scores(name, state, tool.fit(x, y), x)


@each_scorer
def test_a_score_is_a_function_of_its_image_alone(name):
    x, y = images()
    tool = tools(name)
    state, score = tool.fit(x, y), tool.score
    all_at_once = np.asarray(score(state, outputs(x)))
    order = np.random.default_rng(0).permutation(N)
    np.testing.assert_array_equal(score(state, outputs(x[order])), all_at_once[order])
    company = x.copy()
    company[1:] = np.nan
    assert score(state, outputs(company))[0] == all_at_once[0]
    padded = np.concatenate([x[:50], np.zeros((N - 50, D), np.float32)])
    np.testing.assert_array_equal(score(state, outputs(padded))[:50], all_at_once[:50])


@each_family
def test_an_image_alone_has_the_score_that_it_has_among_others(name):
    x, y = images()
    tool = tools(name)
    state = tool.fit(x, y)
    alone, all_at_once = tool.score(state, outputs(x[:1])), tool.score(state, outputs(x))
    np.testing.assert_allclose(alone, all_at_once[:1], rtol=1e-5, atol=1e-5)


@each_scorer
def test_no_images_have_no_scores(name):
    tool, (x, y) = tools(name), images()
    scores, distances = jax.eval_shape(tool.both, jax.eval_shape(tool.fit, x, y), jax.eval_shape(outputs, x[:0]))
    assert scores.shape == (0,)
    assert distances.shape[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", THOROUGH)
def test_a_plain_fit_is_a_jitted_one(name):
    """Operation by operation, in one program, and in two."""
    x, y = images()
    tool = tools(name)
    plain = scorers.fit(tool.scorer, outputs(x), y, K, batch_size=64)
    whole = jax.jit(lambda x, y: scorers.fit(tool.scorer, outputs(x), y, K, batch_size=64))(x, y)
    assert_same_scores(name, plain, whole, x)
    assert_same_scores(name, plain, tool.fit(x, y), x)


@pytest.mark.parametrize("name", [*daily(FITS, "mahalanobis", "max_softmax")])
def test_a_plain_score_is_a_jitted_one(name):
    x, y = images()
    tool = tools(name)
    state = tool.fit(x, y)
    assert_close(name, tool.scorer.score(state, outputs(x)), tool.score(state, outputs(x)))


@pytest.mark.parametrize("name", [*daily(FITS, *(name for name in FAMILIES if name in FITS), "ocsvm")])
def test_vmapped_and_recalled(name):
    x, y = images()
    tool = tools(name)
    # a table of states is scored by vmap
    states = [tool.fit(x, y), tool.fit(x * 2, y), tool.fit(x, (y + 1) % K)]
    stacked = jax.tree.map(lambda *s: jnp.stack(s), *states)
    table = jax.jit(jax.vmap(tool.scorer.score, (0, None)))(stacked, outputs(x))
    sizes = []
    for row, state in zip(table, states, strict=True):
        assert_close(name, row, tool.score(state, outputs(x)))
        sizes.append(tool.both._cache_size())
    assert len(set(sizes)) == 1
    assert tool.stats._cache_size() == 1


@each_scorer
def test_a_nan_scores_nan_and_no_other_image_notices(name):
    x, y = images()
    tool = tools(name)
    bad = x.copy()
    bad[3, 2], bad[4], bad[5, 0] = np.nan, np.inf, -np.inf
    state = tool.fit(bad, y)
    score = np.asarray(tool.score(state, outputs(bad)))
    assert np.isnan(score[3])
    if name in NO_LENGTH:
        assert np.isposinf(score[4:6]).all()  # an overflow says nothing of the image
    assert np.isfinite(np.delete(score, [3, 4, 5] if name in NO_LENGTH else 3)).all()  # elsewhere it's far away
    others = np.delete(score, [3, 4, 5]).max()
    assert score[4] > 1e3 * others
    left_out = np.ones(N, bool)
    left_out[3:6] = False
    stats = tool.update(tool.scorer.init(D, K), outputs(x), y, left_out)
    assert_same_scores(name, tool.finalize(stats), state, x)


@each_fit
def test_labels_of_no_class_are_left_out(name):
    x, y = images()
    tool = tools(name)
    odd = y.copy()
    odd[:30], odd[30:60] = -1, K
    stats = tool.update(tool.scorer.init(D, K), outputs(x), y, np.arange(N) >= 60)
    assert_same_scores(name, tool.finalize(stats), tool.fit(x, odd), x)


@each_fit
def test_a_fit_needs_as_many_labels_as_images(name):
    x, y = images()
    with pytest.raises(ValueError, match=r"features of 240 images and labels of 239"):
        scorers.fit(make(name), outputs(x), y[1:], K)
    with pytest.raises(ValueError, match="at least 1"):
        scorers.fit(make(name), jax.tree.map(lambda leaf: leaf[:0], jax.device_get(outputs(x))), y[:0], K)


def degenerate():
    x, y = images()
    rng = np.random.default_rng(1)
    few = np.arange(N) >= N - 2  # the others get a label of no class
    alone = np.where(np.arange(N) < K, y, K)
    return {
        "duplicate feature": (np.concatenate([x[:, :-1], x[:, :1]], 1), y),
        "dead feature": (np.where(np.arange(D) == 2, 0, x), y),
        "constant feature": (np.where(np.arange(D) == 2, 7.3, x), y),
        "feature dead in one class": (np.where((np.arange(D) == 2) & (y == 1)[:, None], 0, x), y),
        "all features dead": (np.zeros_like(x), y),
        "all features constant": (np.full_like(x, 7.3), y),
        "no spread within classes": (np.eye(K, D)[y] * 5, y),
        "fewer images than features": (x, np.where(few, y, K)),
        "one image a class": (x, alone),
        "one image": (x, np.where(np.arange(N) == 0, y, K)),
        "a class without images": (x, np.where(y == 1, 0, y)),
        "one class": (x, np.zeros_like(y)),
        "huge": (x * 1e12, y),
        "tiny": (x * 1e-12, y),
        "vanishing": (x * 1e-30, y),
        "scales far apart": (x * np.geomspace(1e-6, 1e6, D), y),
        "rectified and sparse": (np.maximum(rng.normal(size=(N, D)) - 2.5, 0), y),
        "far away": (x + 1e7, y),
    }


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mahalanobis", {"shrinkage": 0.0}),
        ("mahalanobis_perclass", {"shrinkage": 0.0}),
        *((name, {}) for name in FAMILIES if name not in MAHALANOBIS),
        *(pytest.param(name, {"shrinkage": s}, marks=pytest.mark.slow) for name in MAHALANOBIS for s in (0.1, 1.0)),
        *(pytest.param(name, {}, marks=pytest.mark.slow) for name in CASES if name not in (*MAHALANOBIS, *FAMILIES)),
    ],
)
def test_degenerate_features_never_give_a_nan(name, options):
    tool = tools(name, **options)
    for case, (x, y) in degenerate().items():
        x = x.astype(np.float32)
        state = tool.fit(x, y)
        known = np.isin(np.arange(K), y)
        strangers = images(seed=1)[0]
        for query in (x, strangers, np.zeros_like(x), x * 3 + 1, strangers * 1e4):
            d = np.asarray(tool.distances(state, query))
            assert np.isfinite(tool.gradient(state, query)).all(), case
            if d.shape == (N, 1):
                none = name in ("gram", "grood", "openmax", "she")  # of no class that any image had, nothing is alike
                assert (np.isfinite(d) | (none & np.isposinf(d))).all(), case
                continue
            assert np.isfinite(d[:, known]).all(), case
            assert np.isposinf(d[:, ~known]).all(), case
            assert (d >= 0).all() or name == "relative_mahalanobis", case


@each_scorer
def test_every_leaf_of_a_state_is_an_array_with_its_dtype(name):
    """What saving, donation and shard_map ask for. Its shapes are known without running."""
    tool = tools(name)
    for leaf in jax.tree.leaves(jax.eval_shape(tool.finalize, jax.eval_shape(tool.stats, *images()))):
        assert leaf.dtype in (np.float32, np.uint32, np.bool_)
        assert not leaf.weak_type


@each_family
def test_lower_precision_features_are_scored_in_float32(name):
    x, y = images()
    tool = tools(name)
    half = x.astype(jnp.bfloat16)
    state = tool.fit(half.astype(np.float32), y)
    said = {k: np.asarray(v).astype(jnp.bfloat16) for k, v in outputs(half.astype(np.float32)).items()}
    coarse = {**said, "features": half, "score": half[:, 0]}
    score = tool.score(state, coarse)
    assert score.dtype == np.float32
    exact = {k: v.astype(np.float32) for k, v in coarse.items()}
    np.testing.assert_array_equal(score, tool.score(state, exact))


def test_unknown_names_and_options_are_refused():
    for of in (
        {"name": "fused", "names": ["euclid"], "offsets": [0], "scales": [1]},
        {"name": "patchwise", "scorer": "euclid"},
    ):
        with pytest.raises(ValueError, match="no scorer 'euclid'; there are: ash, center,"):
            scorers.make(**of)
    with pytest.raises(ValueError, match="no scorer 'euclid'; there are: ash, center,"):
        scorers.make("euclid")
    with pytest.raises(ValueError, match=r"shrinkage 1\.5 must lie in \[0, 1\]"):
        scorers.make("mahalanobis", shrinkage=1.5)
    with pytest.raises(ValueError, match="shrinkage nan"):
        scorers.make("mahalanobis", shrinkage=float("nan"))
    with pytest.raises(ValueError, match="covariance 'full'"):
        scorers.mahalanobis("full")
