"""Convolution and pooling against XLA's own, values and gradients, over a range of shapes."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import export, lax

from adjax import nn
from adjax.nn import _conv, _matmul

pytestmark = pytest.mark.rounding

NHWC = ("NHWC", "HWIO", "NHWC")
slow = pytest.mark.slow
PADDINGS = ["SAME", "VALID", "SAME_LOWER", ((2, 1), (0, 3)), ((1, 0), (-1, 2))]


def problem(image, kernel, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=image).astype(np.float32), rng.normal(size=kernel).astype(np.float32)


def conv(function, *args, **kwargs):
    return lambda x, w: function(x, w, *args, dimension_numbers=NHWC, **kwargs)


def value_and_gradients(function, x, w):
    """y, dx, dw for a fixed random cotangent."""
    y, pull = jax.vjp(function, x, w)
    g = jnp.sin(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape)
    return y, *pull(g)


def assert_equal_to_xla(x, w, *args, function=nn.conv_general_dilated, **kwargs):
    @jax.jit
    def both(x, w):
        ours = value_and_gradients(conv(function, *args, **kwargs), x, w)
        return ours, value_and_gradients(conv(lax.conv_general_dilated, *args, **kwargs), x, w)

    for ours, xla in zip(*both(x, w), strict=True):
        assert ours.shape == xla.shape
        assert ours.dtype == xla.dtype
        np.testing.assert_allclose(ours, xla, rtol=1e-5, atol=1e-5 * max(np.abs(xla).max(initial=0), 1e-30))


CONVOLUTIONS = {
    "one pixel": (1, (1, 1), (1, 1), (1, 1), (1, 1), "VALID"),
    "even sides": (2, (12, 8), (5, 3), (3, 20), (1, 1), "SAME"),
    "odd sides, even kernel": (3, (7, 11), (4, 2), (2, 5), (2, 3), "SAME_LOWER"),
    "kernel larger than the image": (2, (3, 2), (5, 4), (1, 3), (1, 2), "SAME"),
    "uneven pads": (1, (9, 6), (3, 5), (5, 2), (3, 1), ((2, 1), (0, 3))),
    "pads cut off": (2, (10, 9), (2, 3), (4, 7), (2, 2), ((1, 0), (-1, 2))),
}


@pytest.mark.parametrize(
    ("n", "size", "kernel", "channels", "strides", "padding"), CONVOLUTIONS.values(), ids=CONVOLUTIONS
)
def test_convolution_is_that_of_xla(n, size, kernel, channels, strides, padding):
    x, w = problem((n, *size, channels[0]), (*kernel, *channels))
    assert_equal_to_xla(x, w, strides, padding)


@slow
@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(1, 3),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    channels=st.tuples(st.integers(1, 5), st.integers(1, 20)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.sampled_from(PADDINGS),
)
def test_convolution_of_any_shape_is_that_of_xla(n, size, kernel, channels, strides, padding):
    x, w = problem((n, *size, channels[0]), (*kernel, *channels))
    assert_equal_to_xla(x, w, strides, padding)


TILES, STRIDES = [(1, 1), (1, 8), (3, 2), (6, 4), (2, 8), (3, 1)], [(1, 1), (2, 1), (1, 2)]


@pytest.mark.parametrize(
    ("tile", "strides"),
    [
        pytest.param(tile, strides, marks=() if i % 3 == j else slow)
        for i, tile in enumerate(TILES)
        for j, strides in enumerate(STRIDES)
    ],
)
def test_every_tile_is_that_of_xla(tile, strides):
    """Whichever of them `_tile` chooses; of 6×8 output pixels."""
    x, w = problem((2, 5 * strides[0] + 3, 7 * strides[1] + 4, 3), (3, 4, 3, 5))
    ours = partial(nn.tiled, tile=tile)
    assert_equal_to_xla(x, w, strides, "VALID", function=lambda x, w, s, _, **__: ours(x, w, s))


def assert_winograd_is_that_of_xla(n, size, channels):
    x, w = problem((n, *size, channels[0]), (3, 3, *channels))
    functions = nn.winograd, conv(lax.conv_general_dilated, (1, 1), "VALID")
    ours, xla = jax.jit(lambda x, w: [f(x, w) for f in functions])(x, w)
    assert_near([ours], [xla], 1e-5)


@pytest.mark.parametrize(
    ("n", "size", "channels"),
    [(1, (3, 3), (1, 1)), (2, (11, 6), (70, 3)), (3, (4, 9), (5, 20)), (1, (8, 10), (64, 7))],
)
def test_winograd_is_that_of_xla(n, size, channels):
    """Whether or not `_pays_winograd` chooses it; even and odd sides."""
    assert_winograd_is_that_of_xla(n, size, channels)


@slow
@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(1, 3),
    size=st.tuples(st.integers(3, 11), st.integers(3, 11)),
    channels=st.tuples(st.integers(1, 70), st.integers(1, 20)),
)
def test_winograd_of_any_shape_is_that_of_xla(n, size, channels):
    assert_winograd_is_that_of_xla(n, size, channels)


def matmuls(f, x, w):
    """In the program for CPU."""
    return export.export(jax.jit(f), platforms=["cpu"])(x, w).mlir_module().count("stablehlo.dot_general")


@pytest.mark.parametrize("padding", ["SAME", *(pytest.param(p, marks=slow) for p in PADDINGS[1:])])
def test_many_channels_go_to_winograd_and_their_gradients_do_not(padding):
    x, w = problem((2, 13, 16, 64), (3, 3, 64, 72))
    ours, xla = (conv(f, (1, 1), padding) for f in (nn.conv_general_dilated, lax.conv_general_dilated))
    assert matmuls(ours, x, w) == 16
    both = jax.jit(lambda x, w: (ours(x, w), *(value_and_gradients(f, x, w) for f in (ours, xla))))
    y, mine, theirs = both(x, w)
    assert_near([y, *mine], [theirs[0], *theirs], 1e-5)
    assert matmuls(jax.grad(lambda x, w: ours(x, w).sum()), x, w) < 16


@pytest.mark.parametrize(
    "shape",
    [
        (40, 100, 70),
        pytest.param((40, 70, 100), marks=slow),
        (40, 30, 20),
        (40, 20, 30),
        pytest.param((40, 30, 30), marks=slow),
    ],
)
def test_every_form_of_a_matrix_gradient_under_every_transformation(shape):
    """Wide, and narrow with fewer columns or more: products, pulled and pushed, of one and of many, twice."""
    m, k, features = shape
    rng = np.random.default_rng(0)
    rows, matrix = (rng.normal(size=size).astype(np.float32) for size in ((m, k), (k, features)))

    def transformed(f):
        cube = lambda a, b: jnp.sin(f(a, b)).sum()  # noqa: E731
        return (
            f(rows, matrix),
            jax.grad(cube, (0, 1))(rows, matrix),
            jax.jvp(f, (rows, matrix), (jnp.cos(rows), jnp.sin(matrix))),
            jax.vmap(jax.grad(cube, 1), (0, None))(jnp.stack([rows, -rows]), matrix),
            jax.grad(lambda b: jnp.square(jax.grad(cube, 1)(rows, b)).sum())(matrix),
        )

    ours, plain = (jax.jit(transformed, static_argnums=0)(f) for f in (_matmul.matmul, jnp.dot))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())


@pytest.mark.parametrize(
    ("shape", "product"),
    [((40, 100, 70), "f32[100,70]"), ((40, 30, 20), "f32[20,30]"), ((40, 20, 30), "f32[20,30]")],
)
def test_a_matrix_gradient_is_computed_in_the_form_that_is_fast(shape, product):
    """[K, M] @ [M, L] of rows turned over; or the narrower operand first."""
    m, k, features = shape
    rows, matrix = (jax.ShapeDtypeStruct(size, np.float32) for size in ((m, k), (k, features)))
    gradient = jax.jit(jax.grad(lambda a, b: jnp.sin(_matmul.matmul(a, b)).sum(), 1))
    dots = [line for line in gradient.lower(rows, matrix).compile().as_text().splitlines() if " dot(" in line]
    (dot,) = [line for line in dots if f"= f32[{m}," not in line]
    assert f"= {product}" in dot
    assert ("lhs_contracting_dims={1}" in dot) == (features > 64)


NOT_WINOGRAD = {
    "stride": ((3, 3), np.float32, (1, 2), None),
    "kernel": ((3, 5), np.float32, (1, 1), None),
    "narrow operands": ((3, 3), np.float32, (1, 1), jnp.bfloat16),
    "narrow images": ((3, 3), jnp.bfloat16, (1, 1), None),
}


@pytest.mark.parametrize(("kernel", "dtype", "strides", "compute"), NOT_WINOGRAD.values(), ids=NOT_WINOGRAD)
def test_what_winograd_cannot_do_goes_elsewhere(kernel, dtype, strides, compute):
    """Sums of narrow pixels would be rounded once more: from bfloat16 an error of 1 % is near."""
    x, w = (a.astype(dtype) for a in problem((8, 14, 14, 64), (*kernel, 64, 64)))
    ours = conv(nn.conv_general_dilated, strides, "SAME", compute=compute)
    assert matmuls(ours, x, w) < 16
    xla = conv(lax.conv_general_dilated, strides, "SAME")
    y, expected = jax.jit(lambda x, w: [f(x, w).astype(np.float32) for f in (ours, xla)])(x, w)
    assert_near([y], [expected], 0.01)


FALLBACKS = {
    "kernel dilation": {"rhs_dilation": (2, 1)},
    "image dilation": {"lhs_dilation": (1, 2), "padding": ((0, 0), (1, 1))},
    "groups": {"feature_group_count": 2},
    "batch groups": {"batch_group_count": 2},
    "wider result": {"preferred_element_type": np.float32},
}


@pytest.mark.parametrize("options", FALLBACKS.values(), ids=FALLBACKS)
def test_everything_else_goes_to_xla(options):
    options = dict(options)
    groups = options.get("feature_group_count", 1)
    x, w = problem((2, 6, 7, 4), (3, 2, 4 // groups, 6))
    assert_equal_to_xla(x, w, (1, 2), options.pop("padding", "VALID"), **options)


def test_other_layouts_go_to_xla():
    x, w = problem((2, 3, 8, 8), (4, 3, 3, 3))
    ours = nn.conv_general_dilated(x, w, (1, 1), "SAME")  # NCHW, OIHW
    np.testing.assert_allclose(ours, lax.conv_general_dilated(x, w, (1, 1), "SAME"))
    x, w = problem((2, 9, 3), (4, 3, 5))
    dims = ("NWC", "WIO", "NWC")
    ours = nn.conv_general_dilated(x, w, (2,), "SAME", dimension_numbers=dims)
    np.testing.assert_allclose(ours, lax.conv_general_dilated(x, w, (2,), "SAME", dimension_numbers=dims))


def test_an_image_smaller_than_the_kernel_gives_an_empty_result():
    x, w = problem((2, 3, 3, 1), (5, 5, 1, 4))
    assert conv(nn.conv_general_dilated, (1, 1), "VALID")(x, w).shape == (2, 0, 0, 4)


WRONG = {
    "padding": (((2, 8, 8, 3), (3, 3, 3, 4)), ((1, 1), "AROUND"), "AROUND"),
    "pads": (((2, 8, 8, 3), (3, 3, 3, 4)), ((1, 1), ((1, 1),)), "pads"),
    "channels": (((2, 8, 8, 3), (3, 3, 2, 4)), ((1, 1), "SAME"), "3"),
    "strides": (((2, 8, 8, 3), (3, 3, 3, 4)), ((1, 1, 1), "VALID"), "stride"),
    "rank": (((8, 8, 3), (3, 3, 3, 4)), ((1, 1), "SAME"), "3"),
}


@pytest.mark.parametrize(("shapes", "args", "told"), WRONG.values(), ids=WRONG)
def test_nonsense_is_refused_in_the_words_of_xla(shapes, args, told):
    x, w = problem(*shapes)
    errors = []
    for function in (lax.conv_general_dilated, nn.conv_general_dilated):
        with pytest.raises((ValueError, TypeError, RuntimeError), match=told) as caught:
            conv(function, *args)(x, w)
        errors.append((caught.type, str(caught.value)))
    assert errors[0] == errors[1]


TRANSFORMATIONS = {
    "vmapped": lambda f, x, w: jax.vmap(f)(jnp.stack([x, x + 1]), jnp.stack([w, -w])),
    "scanned": lambda f, x, w: lax.scan(
        lambda c, image: (c + f(image[None], w).sum(), f(image[None], c * w)), jnp.float32(1), x
    ),
    "pushed": lambda f, x, w: jax.jvp(f, (x, w), (jnp.cos(x), jnp.sin(w))),
    "hessian product": lambda f, x, w: jax.grad(
        lambda w: jnp.square(jax.grad(lambda w: jnp.square(f(x, w)).sum())(w)).sum()
    )(w),
}


@pytest.mark.parametrize("transformed", TRANSFORMATIONS.values(), ids=TRANSFORMATIONS)
@pytest.mark.parametrize(
    ("image", "kernel"), [((8, 8, 2), (3, 3, 2, 5)), pytest.param((14, 14, 64), (3, 3, 64, 48), marks=slow)]
)
def test_convolution_under_every_transformation(image, kernel, transformed):
    """Of matmuls over tiles, and of Winograd's."""
    x, w = problem((4, *image), kernel)
    functions = [conv(f, (1, 1), "SAME") for f in (nn.conv_general_dilated, lax.conv_general_dilated)]
    got, expected = jax.jit(lambda x, w: [transformed(f, x, w) for f in functions])(x, w)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())


@pytest.mark.parametrize("gradient", [False, True])
def test_matmuls_on_cpu_and_true_convolutions_on_accelerators(gradient):
    f = conv(nn.conv_general_dilated, (1, 1), "SAME")
    if gradient:
        f = jax.grad(lambda x, w, f=f: jnp.square(f(x, w)).sum(), (0, 1))
    x, w = (jax.ShapeDtypeStruct(s, np.float32) for s in ((8, 14, 14, 6), (5, 5, 6, 16)))
    for platform, convolutions in {"cpu": False, "cuda": True, "tpu": True}.items():
        text = export.export(jax.jit(f), platforms=[platform])(x, w).mlir_module()
        assert ("stablehlo.convolution" in text) == convolutions, platform
        assert ("stablehlo.dot" in text) != convolutions, platform


@pytest.mark.parametrize(
    ("image", "kernel"), [((14, 14, 6), (5, 5, 6, 16)), pytest.param((7, 7, 64), (3, 3, 64, 64), marks=slow)]
)
def test_one_exported_program_serves_every_platform_and_batch_size(image, kernel):
    f = jax.jit(conv(nn.conv_general_dilated, (1, 1), "SAME"))
    (n,) = export.symbolic_shape("n")
    x, w = jax.ShapeDtypeStruct((n, *image), np.float32), jax.ShapeDtypeStruct(kernel, np.float32)
    program = export.deserialize(export.export(f, platforms=["cpu", "cuda", "tpu"])(x, w).serialize())
    for operation in ("stablehlo.convolution", "stablehlo.dot"):
        assert operation in program.mlir_module()
    for batch in (1, 5):
        x, w = problem((batch, *image), kernel)
        y = lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=NHWC)
        np.testing.assert_allclose(program.call(x, w), y, rtol=1e-5, atol=1e-5 * max(1, np.abs(y).max()))


@pytest.mark.parametrize(
    ("image", "kernel", "tile"),
    [
        ((28, 28, 1), (5, 5, 1, 6), (2, 4)),  # LeNet-5: few channels, so large tiles
        ((14, 14, 16), (3, 3, 16, 4), (2, 2)),  # the autoencoder's last: few columns else
        ((7, 7, 32), (3, 3, 32, 64), (1, 1)),  # its third: many channels, so no zeros
        ((2, 2, 512), (3, 3, 512, 512), (1, 1)),  # VGG16's last: arithmetic is all
        ((14, 14, 256), (1, 1, 256, 512), (1, 1)),  # nothing to gather: a plain matmul
        ((96, 96, 144), (1, 1, 144, 24), (1, 1)),  # and nothing is copied, however large
        ((1024, 1024, 64), (3, 3, 64, 64), None),  # copies would fill the memory
    ],
)
def test_the_tile_follows_from_the_shape(image, kernel, tile):
    assert _conv._tile(image[:2], kernel, (1, 1)) == tile


@pytest.mark.parametrize(
    ("images", "kernel", "pays"),
    [
        ((32, 32, 32), (3, 3, 64, 64), True),  # VGG16's second
        ((32, 4, 4), (3, 3, 512, 512), True),
        ((None, 4, 4), (3, 3, 512, 512), True),
        ((1, 4, 4), (3, 3, 512, 512), False),  # the kernel's transform costs more than it spares
        ((32, 2, 2), (3, 3, 512, 512), False),
        ((32, 28, 28), (3, 3, 3, 16), False),  # additions alone cost more than that
        ((32, 60, 60), (3, 3, 64, 64), False),  # copies would fill the memory
    ],
)
def test_winograd_pays_by_shape(images, kernel, pays):
    n, *sides = images
    if n is None:
        (n,) = export.symbolic_shape("n")
    tile = _conv._tile(sides, kernel, (1, 1))
    assert _conv._pays_winograd((n, *sides, kernel[3]), kernel, tile) == pays


def xla_pool(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


@cache
def both_pools():
    @jax.jit
    def both(x):
        def one(f):
            y, pull = jax.vjp(f, x)
            return y, pull(1 + jnp.arange(y.size, dtype=jnp.float32).reshape(y.shape))[0]

        return one(nn.max_pool_2x2), one(xla_pool)

    return both


def assert_pooling_is_that_of_xla(shape, seed):
    """Few distinct values: every kind of tie."""
    x = np.random.default_rng(seed).integers(-1, 2, shape).astype(np.float32)
    for ours, xla in zip(*both_pools()(x), strict=True):
        np.testing.assert_array_equal(ours, xla)


@pytest.mark.parametrize("shape", [(2, 6, 4, 3), (1, 7, 5, 2), (3, 1, 4, 1), (1, 2, 3, 1)])
def test_pooling_and_its_gradient_are_those_of_xla(shape):
    """Odd sizes: the last row and column get nothing."""
    for seed in range(10):
        assert_pooling_is_that_of_xla(shape, seed)


@slow
@settings(max_examples=15, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7), st.integers(1, 3)),
    seed=st.integers(0, 9),
)
def test_pooling_of_any_shape_is_that_of_xla(shape, seed):
    assert_pooling_is_that_of_xla(shape, seed)


POOLS = nn.max_pool_2x2, xla_pool


def test_pooling_passes_nan_and_infinity_on():
    x = np.zeros((1, 4, 4, 1), np.float32)
    x[0, 1, 0], x[0, 2:, 2:], x[0, 0, 2] = np.nan, -np.inf, np.inf
    y = nn.max_pool_2x2(x)[0, :, :, 0]
    np.testing.assert_array_equal(y, [[np.nan, np.inf], [0, -np.inf]])
    np.testing.assert_array_equal(y, xla_pool(x)[0, :, :, 0])


def test_pooling_under_every_transformation():
    x, t = (problem((3, 6, 6, 2), (1,), seed)[0] for seed in (0, 1))

    def transformed(f, x, t):
        return (
            jax.vmap(f)(jnp.stack([x, -x])),
            jax.jvp(f, (x,), (t,)),
            lax.scan(lambda c, image: (c, f(image[None])), 0, x)[1],
            jax.grad(lambda s: jnp.square(f(s * x)).sum())(2.0),
        )

    ours, xla = jax.jit(lambda x, t: [transformed(f, x, t) for f in POOLS])(x, t)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(xla), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_pooling_lowers_without_scatter():
    """XLA's own gradient is a select-and-scatter, ten times as slow on CPU."""
    gradient = jax.jit(jax.grad(lambda x: jnp.square(nn.max_pool_2x2(x)).sum()))
    text = gradient.lower(jax.ShapeDtypeStruct((2, 8, 8, 3), np.float32)).as_text()
    assert "scatter" not in text


TRANSPOSED = {
    "doubling": ((2, 3), (4, 4), (2, 2), ((1, 1), (1, 1))),
    "no whole strides": ((4, 4), (3, 2), (2, 3), ((0, 0), (1, 1))),
    "stride 1": ((5, 4), (2, 3), (1, 1), ((1, 1), (2, 0))),
    "gaps": ((3, 3), (2, 2), (3, 3), ((0, 0), (0, 1))),
    "uneven": ((3, 3), (4, 2), (2, 2), ((0, 1), (1, 0))),
}


def assert_near(ours, xla, relative):
    for a, b in zip(ours, xla, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=relative, atol=relative * max(np.abs(b).max(initial=0), 1e-30))


@pytest.mark.parametrize(("size", "kernel", "strides", "padding"), TRANSPOSED.values(), ids=TRANSPOSED)
def test_transposed_convolution_is_that_of_xla(size, kernel, strides, padding):
    x, w = problem((2, *size, 5), (*kernel, 3, 5))
    pads = [(k - 1 - low, k - 1 - high) for k, (low, high) in zip(kernel, padding, strict=True)]

    def xla(x, w):
        return lax.conv_transpose(x, w, strides, pads, dimension_numbers=NHWC, transpose_kernel=True)

    def ours(compute):
        return lambda x, w: nn.conv_transpose(x, w, strides, padding, compute=compute)

    functions = ours(None), ours(jnp.bfloat16), xla
    exact, narrow, theirs = jax.jit(lambda x, w: [value_and_gradients(f, x, w) for f in functions])(x, w)
    assert_near(exact, theirs, 1e-5)
    assert_near(narrow, theirs, 0.01)
    assert np.abs(narrow[0] - theirs[0]).max() > 1e-6 * np.abs(theirs[0]).max()  # it is narrow


def test_transposed_convolution_is_the_gradient_of_the_convolution():
    x, w = problem((2, 10, 8, 3), (4, 3, 3, 5))

    @jax.jit
    def both(x, w):
        y, pull = jax.vjp(lambda x: conv(lax.conv_general_dilated, (2, 1), ((1, 1), (1, 1)))(x, w), x)
        return nn.conv_transpose(y, w, (2, 1), ((1, 1), (1, 1))), pull(y)[0]

    ours, slope = both(x, w)
    np.testing.assert_allclose(ours, slope, rtol=1e-5, atol=1e-5 * np.abs(slope).max())


@pytest.mark.parametrize(
    ("channels", "strides"),  # either operand of the kernel's gradient the narrower
    [
        ((1, 8), (2, 2)),
        ((24, 3), (1, 3)),
        pytest.param((1, 8), (1, 3), marks=slow),
        pytest.param((24, 3), (2, 2), marks=slow),
    ],
)
def test_narrow_convolution_is_near_the_exact_one(channels, strides):
    x, w = problem((2, 9, 8, channels[0]), (4, 3, *channels))
    functions = (
        conv(nn.conv_general_dilated, strides, "SAME", compute=jnp.bfloat16),
        conv(lax.conv_general_dilated, strides, "SAME"),
    )
    narrow, exact = jax.jit(lambda x, w: [value_and_gradients(f, x, w) for f in functions])(x, w)
    assert_near(narrow, exact, 0.01)


def test_narrow_operands_are_added_up_in_float32():
    """4096 products of 1.0: a bfloat16 sum would stop at 256."""
    x, w = np.ones((1, 4, 4, 256), np.float32), np.ones((4, 4, 256, 2), np.float32)
    narrow = conv(nn.conv_general_dilated, (1, 1), "VALID", compute=jnp.bfloat16)
    y, dx, dw = jax.jit(partial(value_and_gradients, narrow))(x, w)
    assert (y == 4096).all()
    assert {a.dtype for a in (y, dx, dw)} == {np.dtype("float32")}


@pytest.mark.parametrize("platform", ["cpu", "cuda"])
def test_transposed_convolutions_are_matmuls_on_cpu_alone(platform):
    x, w = (jax.ShapeDtypeStruct(s, np.float32) for s in ((2, 4, 4, 8), (4, 4, 3, 8)))
    f = jax.grad(lambda x, w: nn.conv_transpose(x, w, (2, 2), ((1, 1), (1, 1)), compute=jnp.bfloat16).sum(), (0, 1))
    text = export.export(jax.jit(f), platforms=[platform])(x, w).mlir_module()
    assert ("stablehlo.convolution" in text) == (platform != "cpu")
