"""Images by name: `load("mnist", "train")`; and who is normal: `protocols.task("mnist", "fashion_mnist")`.

Importing this costs nothing: scikit-learn, Pillow and tensorflow-datasets are imported by the source that
needs them.

Example:
  >>> digits = load("digits", "train")
  >>> digits.images.shape, digits.labels[:3].tolist()
  ((1297, 8, 8, 1), [0, 4, 5])
"""

from adjax.data.registry import DATASETS as DATASETS
from adjax.data.registry import Dataset as Dataset
from adjax.data.registry import find as find
from adjax.data.registry import load as load
from adjax.data.split import DataError as DataError
from adjax.data.split import Split as Split
from adjax.data.split import digest as digest
