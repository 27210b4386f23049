"""kill -9 in a search: run again, it makes the same trials."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from study import Study
from tests.helpers.driver import Driver
from tests.helpers.search import SPEC as SMALL
from tests.helpers.stores import finished

SPEC: dict[str, Any] = SMALL | {"controls": ["shuffled"]}
#: Candidates and their guide at two seeds, then four conditions at two seeds.
NUM_REPLICATES = (3 * 3 + 1) * 2 + 4 * 2


def table(store: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(store / "studies" / "tuned" / f"{name}.parquet")


@pytest.mark.slow
def test_killed_in_any_batch_and_run_again(
    drive: Callable[..., Driver], until: Callable[..., Any], tmp_path: Path
) -> None:
    draw, store = random.Random(0), tmp_path / "store"
    seen: dict[str, int] = {}
    for least in (2, 16, 22):
        driver = drive("run", SPEC)
        until(lambda least=least: len(finished(store)) >= least)
        time.sleep(draw.uniform(0, 1))
        driver.kill("driver")
        driver.process.wait()
        now = finished(store)
        assert {identifier: now[identifier] for identifier in seen} == seen
        seen = now
    last = drive("run", SPEC)
    assert last.wait() == 0, last.log.read_text()
    assert len(finished(store)) == NUM_REPLICATES
    other = tmp_path / "other"
    assert Study(**SPEC).run(store=other, local=True).complete
    assert finished(other).keys() == finished(store).keys()
    for name in ("search", "budget_curve", "transfer"):
        pd.testing.assert_frame_equal(table(store, name), table(other, name), check_exact=True)
