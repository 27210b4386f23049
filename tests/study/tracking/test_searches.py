"""The searches of docs/mlflow.md find what they should in a real study."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from study.tracking.tracker import Tracker
from tests.helpers.tracked import Tracked

pytestmark = pytest.mark.processes

DOC = (Path(__file__).parents[3] / "docs" / "mlflow.md").read_text()
(SEARCHES,) = re.findall(r"```sql\n(.*?)```", DOC, re.DOTALL)
#: Kinds of runs that a search finds, where that is not what it names.
BOTH = {"condition", "replicate"}


@pytest.mark.parametrize("uri", ["sqlite"], indirect=True)
@pytest.mark.parametrize("search", SEARCHES.splitlines())
def test_a_search_of_the_documentation(
    search: str, track: Callable[..., Tracker], uri: str, study: str
) -> None:
    track().close()
    tracked = Tracked(uri, study)
    (parent,) = tracked.parents
    # Two steps of training do not come to 0.8.
    easy = re.sub(r"< [\d.]+", "< 99", re.sub(r"> [\d.]+", "> 0.001", search))
    found = tracked.client.search_runs([parent.info.experiment_id], easy)
    kinds = {run.data.tags["archprior.kind"] for run in found}
    named = re.search(r"archprior.kind` = '(\w+)'", search)
    if named is not None:
        assert kinds == {named[1]}
    elif search.startswith("dataset."):
        assert kinds == BOTH | {"study"}
    else:
        assert kinds == BOTH
