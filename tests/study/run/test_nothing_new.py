"""A run with nothing to do: it asks MLflow little, draws nothing, and leaves files as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from study import Study
from tests.helpers.tracked import Tracked
from tests.study.conftest import SPEC

pytestmark = pytest.mark.processes

NAME = "nothing-new"


def run(store: Path, uri: str) -> Any:
    return Study(**SPEC | {"name": NAME}).run(store=store, local=True, tracking_uri=uri)


def times(folder: Path) -> dict[str, int]:
    names = ("*.parquet", "report.html")
    return {path.name: path.stat().st_mtime_ns for name in names for path in folder.glob(name)}


def never(*_arguments: Any, **_options: Any) -> Any:
    raise AssertionError("nothing was to be drawn")


def test_it_makes_few_requests_and_draws_nothing(
    server: str, store_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from requests.adapters import HTTPAdapter

    first = run(store_copy, server)
    folder = store_copy / "studies" / NAME
    before = times(folder)
    sent: list[str] = []
    send = HTTPAdapter.send

    def counted(self: HTTPAdapter, request: Any, *arguments: Any, **options: Any) -> Any:
        sent.append(f"{request.method} {request.path_url}")
        return send(self, request, *arguments, **options)

    monkeypatch.setattr(HTTPAdapter, "send", counted)
    monkeypatch.setattr("analysis.plots.save", never)
    monkeypatch.setattr("analysis.report.page.render", never)
    again = run(store_copy, server)
    assert 0 < len(sent) < 10, sent
    after = times(folder)
    for name in ("plan.parquet", "alignments.parquet", "guide_taps.parquet"):
        del before[name], after[name]
    assert after == before
    assert again.report == first.report
    assert again.tables["transfer"].equals(first.tables["transfer"])


@pytest.fixture
def uri(store_copy: Path) -> str:
    return f"sqlite:///{store_copy}/mlflow.db"


@pytest.mark.parametrize("gone", ["database", "end of the study's run", "run of the study"])
def test_what_mlflow_may_lack_is_filled_in(gone: str, store_copy: Path, uri: str) -> None:
    """Not where the study's own run says that nothing is lacking."""
    run(store_copy, uri)
    found = Tracked(uri, NAME)
    (parent,), client = found.parents, MlflowClient(tracking_uri=uri)
    name, child = next(iter(found.children.items()))
    if gone == "database":
        (store_copy / "mlflow.db").unlink()
    else:
        client.delete_run(child.info.run_id)
        run(store_copy, uri)
        assert name not in Tracked(uri, NAME).children
    if gone == "end of the study's run":
        client.update_run(parent.info.run_id, status="RUNNING")
    if gone == "run of the study":
        client.delete_run(parent.info.run_id)
    run(store_copy, uri)
    after = Tracked(uri, NAME)
    assert after.children.keys() == found.children.keys()
    (parent,) = after.parents
    assert {"figures", "tables", "report.html", "plan.parquet"} <= after.artifacts(parent)
    assert parent.info.status == "FAILED"
