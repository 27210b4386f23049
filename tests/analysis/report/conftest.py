"""Studies whose report is looked at: a usual one, and one of all that is odd."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.made_study import MadeStudy, usual

#: Names that are markup, break out of attributes, are long, or read from right to left.
HOSTILE = (
    "<script>window.hacked = 1</script>",
    "\"'><img src=x onerror=window.hacked=1>",
    "</table></section>&lt;b&gt;{{ 7 * 7 }}",
    "x" * 300,
    "שלום(depth=4) ערב",
)


def odd(row: Mapping[str, Any], generator: np.random.Generator) -> float | str:
    """A guide that failed, cells that failed, wait, have one seed, or do not vary at all."""
    guide, target, seed = row["guide"], row["target"], row["seed"]
    if target == "broken" and row["role"] == "guide":
        return "failed: ValueError: the loss is nan at step 7 <b>&amp;"
    if guide == "broken" and row["state"] == "trained":
        return "blocked: guide guide/broken/0 failed: the loss is nan"
    if guide == "waiting":
        return "missing"
    if guide == "failing" and row["role"] == "guided":
        return "failed: OutOfMemoryError: 3 GiB asked for, 2 GiB free"
    if guide == "single" and seed > 0 and row["role"] == "guided":
        return "missing"
    if guide == "constant" or (guide is None and target == "still"):
        return 0.75 if guide else 0.5
    if guide == "half" and seed % 2 and row["role"] == "guided":
        return "failed: RuntimeError: half of them"
    return usual(row, generator)


@pytest.fixture(scope="session")
def usual_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study of 2 x 2 cells, two states, three controls, two weights."""
    store = tmp_path_factory.mktemp("usual") / "store"
    return MadeStudy(alphas=(1.0, 3.0)).write(store)


@pytest.fixture(scope="session")
def odd_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study whose cells failed, wait, have one seed, or do not vary."""
    store = tmp_path_factory.mktemp("odd") / "store"
    guides = ("resnet2d", "broken", "waiting", "failing", "single", "constant", "half")
    made = MadeStudy(
        name="odd", guides=guides, targets=("fcn", "still"), controls=("shuffled",), outcome=odd
    )
    return made.write(store)


@pytest.fixture(scope="session")
def hostile_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study whose guides, targets and question are markup and worse."""
    store = tmp_path_factory.mktemp("hostile") / "store"
    made = MadeStudy(
        name="hostile", guides=HOSTILE, targets=HOSTILE, controls=("shuffled",),
        question="<script>window.hacked = 1</script> שלום {{ 7 * 7 }}",
        spec={"note": "</code></pre><script>window.hacked = 1</script>"},
    )  # fmt: skip
    return made.write(store)


@pytest.fixture(scope="session")
def large_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study of 40 x 40 cells."""
    store = tmp_path_factory.mktemp("large") / "store"
    made = MadeStudy(
        name="large", guides=[f"guide{k}" for k in range(40)],
        targets=[f"target{k}" for k in range(40)], states=("trained",), controls=(), seeds=3,
        reports=2,
    )  # fmt: skip
    return made.write(store)
