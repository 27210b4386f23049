"""Studies whose report is looked at: a usual one, and one of all that is odd."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis import report
from analysis.report import Facts
from tests.helpers.made_study import MadeStudy, usual


@cache
def html_of(folder: Path, facts: Facts | None = None) -> str:
    """The page of a study, made once for all tests."""
    return report.render(report.StudyTables(folder.name, folder.parents[1]), facts)


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
    guided = row["role"] == "guided"
    outcomes: dict[float | str, bool] = {
        "failed: ValueError: the loss is nan at step 7 <b>&amp;": row["role"] == "guide"
        and target == "broken",
        "blocked: guide guide/broken/0 failed: the loss is nan": guide == "broken"
        and row["state"] == "trained",
        "missing": guide == "waiting" or (guide == "single" and seed > 0 and guided),
        "failed: OutOfMemoryError: 3 GiB asked for, 2 GiB free": guide == "failing" and guided,
        "failed: RuntimeError: half of them": guide == "half" and bool(seed % 2) and guided,
        0.75: guide == "constant",
        0.5: guide is None and target == "still",
    }
    return next((name for name, holds in outcomes.items() if holds), usual(row, generator))


@pytest.fixture(scope="session")
def usual_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study of 2 x 2 cells, two states, three controls, two weights."""
    store = tmp_path_factory.mktemp("usual") / "store"
    return MadeStudy(alphas=(1.0, 3.0)).write(store)


@pytest.fixture(scope="session")
def tiny_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study of one cell."""
    store = tmp_path_factory.mktemp("tiny") / "store"
    made = MadeStudy(
        name="tiny", targets=["fcn"], guides=["vit"], states=["trained"], controls=["shuffled"],
        seeds=3, reports=3,
    )  # fmt: skip
    return made.write(store)


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
        name="hostile", guides=HOSTILE, targets=HOSTILE, states=("trained",), controls=(), seeds=3,
        reports=3,
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
