"""Tables that are as their files were are shown without reading these; any change is noticed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import analysis
from analysis import from_store, listing
from analysis.contract import (
    ALIGNMENTS,
    FAILURE,
    GUIDE_TAPS,
    MLFLOW_RUNS,
    PLAN,
    PROVENANCE,
    REPLICATE_TABLES,
    RESULT,
    SPEC,
)
from analysis.errors import NotWrittenWarning
from analysis.listing import listed
from tests.helpers.drawn_study import grid, write
from trainers.store.store import Store

pytestmark = pytest.mark.processes

NAME = "drawn"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a study and its tables, of which no listing is noted."""
    folder = tmp_path_factory.mktemp("made") / "store"
    write(grid(NAME, 1, 1, 2), Store(folder), 3)
    with pytest.warns(NotWrittenWarning):
        analysis.analyze(NAME, store=folder)
    return folder


@pytest.fixture
def surveys(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The studies whose replicates are read from now on, each time."""
    read, survey = list[str](), from_store.survey

    def counted(study: str, store: Any) -> Any:
        read.append(study)
        return survey(study, store)

    monkeypatch.setattr(from_store, "survey", counted)
    # The files of a test are younger than any margin.
    monkeypatch.setattr(listing, "SETTLED_SECONDS", 0.0)
    return read


@pytest.fixture
def store(made: Path, tmp_path: Path, surveys: list[str]) -> Path:
    """A copy that has been shown once, so that its listing is noted."""
    folder = Path(shutil.copytree(made, tmp_path / "store"))
    analysis.refresh(NAME, store=folder)
    assert surveys == [NAME]
    surveys.clear()
    return folder


def accuracies(store: Path) -> set[float]:
    tables = analysis.refresh(NAME, store=store)
    assert tables is not None
    return set(tables["replicates"]["test_accuracy"].dropna())


def a_result(store: Path) -> Path:
    return min((store / "replicates").glob("*/result.json"))


def test_what_has_not_changed_is_not_read(store: Path, surveys: list[str]) -> None:
    before = accuracies(store)
    assert accuracies(store) == before
    assert not surveys


def test_a_result_of_equal_size_and_time_is_noticed(store: Path, surveys: list[str]) -> None:
    before, path = accuracies(store), a_result(store)
    status, text = path.stat(), path.read_text()
    position = text.index('"accuracy": 0.') + len('"accuracy": 0.')
    digit = "1" if text[position] != "1" else "2"
    path.write_text(text[:position] + digit + text[position + 1 :])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert accuracies(store) != before
    assert surveys == [NAME]


@pytest.mark.parametrize("file", [PLAN, SPEC, ALIGNMENTS, GUIDE_TAPS, MLFLOW_RUNS])
def test_other_files_of_the_study_are_noticed(store: Path, surveys: list[str], file: str) -> None:
    path = store / "studies" / NAME / file
    content = path.read_bytes() if path.exists() else b"{}"
    path.write_bytes(content)
    accuracies(store)
    assert surveys == [NAME]
    # The tables are the same, so that only the listing is noted anew.
    accuracies(store)
    assert surveys == [NAME]


@pytest.mark.parametrize("file", [RESULT, FAILURE, PROVENANCE, *REPLICATE_TABLES])
def test_other_files_of_a_replicate_are_listed(store: Path, file: str) -> None:
    path = a_result(store).with_name(file)
    before = listed(NAME, store)
    assert before is not None
    path.write_bytes(path.read_bytes() if path.exists() else b"{}")
    assert listed(NAME, store) != before


def test_a_result_that_is_gone_is_noticed_each_time(store: Path, surveys: list[str]) -> None:
    a_result(store).unlink()
    for _ in range(2):
        with pytest.warns(NotWrittenWarning, match="replicates are missing"):
            analysis.refresh(NAME, store=store)
    assert surveys == [NAME, NAME]


def test_a_damaged_table_is_made_anew(store: Path, surveys: list[str]) -> None:
    before = accuracies(store)
    path = store / "studies" / NAME / "replicates.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    assert accuracies(store) == before
    assert surveys == [NAME]


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"listing": 1, "inputs": "x"}'])
def test_a_damaged_listing_is_none(store: Path, surveys: list[str], content: bytes) -> None:
    (store / "studies" / NAME / "listing.json").write_bytes(content)
    accuracies(store)
    assert surveys == [NAME]


def test_tables_of_another_version_are_made_anew(
    store: Path, surveys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "code_version", lambda: "another")
    accuracies(store)
    assert surveys == [NAME]


def test_files_that_changed_just_now_are_read(
    store: Path, surveys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    a_result(store).touch()
    monkeypatch.setattr(listing, "SETTLED_SECONDS", 600.0)
    for _ in range(2):
        accuracies(store)
    assert surveys == [NAME, NAME]


def test_a_bucket_and_a_study_without_a_plan_have_no_listing(store: Path) -> None:
    assert listing.listed(NAME, store) is not None
    assert listing.listed("other", store) is None
    assert listing.listed(NAME, f"memory://{store}") is None
