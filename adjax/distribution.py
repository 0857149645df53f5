"""The installed distribution: name, version, and the command that adds an extra."""

from __future__ import annotations

import json
from pathlib import Path

NAME, VERSION = "adjax-anomaly", "0.1.0"
"""To install by; `adjax` in the package index is another project."""


def install(extra: str) -> str:
    """The command that installs an extra of this adjax: of its clone, its wheel, or the package index.

    Args:
      extra: a name under [project.optional-dependencies] in pyproject.toml.
    """
    clone = Path(__file__).parents[1]
    if (clone / "pyproject.toml").is_file():
        return f"pip install -e '{clone}[{extra}]'"
    from importlib import metadata  # when called: it takes as long as the rest of `--help`

    source = metadata.distribution(NAME).read_text("direct_url.json")
    if source is None:
        return f"pip install '{NAME}[{extra}]'"
    return f"pip install '{NAME}[{extra}] @ {json.loads(source)['url']}'"
