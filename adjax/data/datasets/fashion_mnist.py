"""Fashion-MNIST (Xiao, Rasul, Vollgraf 2017): 70,000 clothes, 28×28 grey; and where it is available."""

from __future__ import annotations

from pathlib import Path

from adjax.data.download.published import Published

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

FASHION_MNIST = Published(
    name="fashion_mnist",
    sha256={
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    unordered={
        "train": "124c184aaf21c8358c5cb27cc8a39134acd90ec89185abd10d6775e42cee6fab",
        "test": "d49e2f330203fe2e64229d5bf6537e75134a615c50869b08254fd85f6de2470a",
    },
    package=("apt", "dataset-fashion-mnist"),
    members="usr/share/datasets/fashion-mnist/{}.gz",
    system=Path("/usr/share/datasets/fashion-mnist"),
)
