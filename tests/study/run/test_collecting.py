"""Only what is new is read, and the tables are those of reading everything."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import analysis
from analysis import measured
from analysis.errors import DamagedFileError, NotWrittenWarning
from study.plan.progress import Progress
from tests.helpers.drawn_study import finish, finish_rest, grid, write
from trainers.store.store import Store

pytestmark = [
    pytest.mark.processes,
    pytest.mark.filterwarnings("ignore::analysis.errors.NotWrittenWarning"),
]

NAME, REPORTS = "drawn", 3
SPEC = grid(NAME, 1, 1, 2)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a study of which the last two replicates are missing, and its tables."""
    folder = tmp_path_factory.mktemp("made") / "store"
    write(SPEC, Store(folder), REPORTS, withheld=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measured, "REPLICATES_AT_ONCE", 3)
        with pytest.warns(NotWrittenWarning):
            analysis.analyze(NAME, store=folder)
    return folder


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "store"))


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several row groups, of which new replicates move the bounds."""
    monkeypatch.setattr(measured, "REPLICATES_AT_ONCE", 3)


def progress(store: Path, spec: dict[str, Any] = SPEC) -> Progress:
    from study import Study

    return Progress(Study(**spec).plan(), Store(store))


def tables(store: Path) -> dict[str, Any]:
    """The content of each table's file, apart from when it was made."""
    found = {}
    for path in sorted((store / "studies" / NAME).glob("*.parquet")):
        table = pq.read_table(path)
        facts = {
            key: value
            for key, value in (table.schema.metadata or {}).items()
            if key != b"archprior"
        }
        found[path.name] = table.replace_schema_metadata(facts or None)
    return found


def num_points(store: Path) -> int:
    found = (store / "replicates").glob("*/history.parquet")
    return sum(pq.read_metadata(path).num_rows for path in found)


def times(store: Path) -> dict[str, int]:
    folder = store / "studies" / NAME
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.parquet")}


def check_like_a_full_read(store: Path, tmp_path: Path) -> None:
    """An analysis gives the tables, to the byte, of one that finds no tables."""
    analysis.analyze(NAME, store=store)
    full = Path(shutil.copytree(store, tmp_path / "full"))
    for path in (full / "studies" / NAME).glob("*.parquet"):
        if path.name not in ("plan.parquet", "alignments.parquet", "guide_taps.parquet"):
            path.unlink()
    analysis.analyze(NAME, store=full)
    mine, theirs = tables(store), tables(full)
    assert mine.keys() == theirs.keys()
    for name, table in mine.items():
        assert table.equals(theirs[name], check_metadata=True), name


def spoil(path: Path) -> None:
    """Change the values of the first column of a table's file, but not its size."""
    content = bytearray(path.read_bytes())
    first = pq.ParquetFile(path).metadata.row_group(0).column(0)
    end = 4 + first.total_compressed_size
    content[end - 6 : end] = bytes(255 - byte for byte in content[end - 6 : end])
    path.write_bytes(bytes(content))


def spoil_replicates(store: Path) -> None:
    """Make the tables of finished replicates unreadable, so that none can be read again."""
    for path in (store / "replicates").glob("*/*.parquet"):
        content = path.read_bytes()
        path.write_bytes(b"?" * len(content))


def test_nothing_is_written_where_nothing_changed(store: Path) -> None:
    before = times(store)
    first = analysis.analyze(NAME, store=store)
    assert times(store) == before
    assert set(first) == {name.removesuffix(".parquet") for name in before} - {
        "plan", "alignments", "guide_taps",
    }  # fmt: skip
    assert len(first["history"]) == num_points(store)


def test_what_is_new_alone_is_read(store: Path) -> None:
    known = num_points(store)
    spoil_replicates(store)
    todo = progress(store)
    finish_rest(todo, REPORTS)
    told: list[tuple[int, int]] = []
    analysis.analyze(NAME, store=store, passed=lambda *numbers: told.append(numbers))
    count = len(todo.by_id)
    assert told[-1] == (count, count)
    found = pq.read_table(store / "studies" / NAME / "history.parquet")
    # Both are guided, and report four metrics.
    assert found.num_rows == known + 2 * 4 * REPORTS


@pytest.mark.parametrize("also", ["new", "replaced", "failed", "fewer seeds", "more seeds"])
def test_tables_are_those_of_a_full_read(also: str, store: Path, tmp_path: Path) -> None:
    known = progress(store)
    first = known.plan.replicates[0]
    if also == "new":
        finish_rest(known, REPORTS)
    elif also == "replaced":
        Store(store).replicate(first.id).discard()
        finish(first, Store(store), REPORTS + 1, 1000)
    elif also == "failed":
        Store(store).replicate(first.id).discard()
        Store(store).replicate(first.id).fail(RuntimeError("out of luck"))
    else:
        seeds = 1 if also == "fewer seeds" else 3
        write(SPEC | {"seeds": seeds}, Store(store), REPORTS)
    before = tables(store)
    check_like_a_full_read(store, tmp_path)
    after = tables(store)
    assert not after["history.parquet"].equals(before["history.parquet"])


@pytest.mark.parametrize("name", ["history", "predictions", "alignment", "transfer", "replicates"])
@pytest.mark.parametrize("damage", [spoil, Path.unlink, lambda path: os.truncate(path, 100)])
def test_a_damaged_table_is_made_anew(
    name: str, damage: Callable[[Path], object], store: Path
) -> None:
    before = tables(store)
    damage(store / "studies" / NAME / f"{name}.parquet")
    analysis.analyze(NAME, store=store)
    after = tables(store)
    assert after.keys() == before.keys()
    assert all(table.equals(before[key], check_metadata=True) for key, table in after.items())


def test_other_code_reads_all_anew(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil_replicates(store)
    finish_rest(progress(store), REPORTS)
    for module in ("analysis.measured", "analysis.collect"):
        monkeypatch.setattr(f"{module}.code_version", lambda: "other")
    with pytest.raises(DamagedFileError, match="trains it anew"):
        analysis.analyze(NAME, store=store)


def test_a_replicate_that_was_cut_off_since_is_named(store: Path) -> None:
    path = next((store / "replicates").glob("*/history.parquet"))
    os.truncate(path, 50)
    with pytest.raises(DamagedFileError, match=r"history.parquet is damaged .* trains it anew"):
        analysis.analyze(NAME, store=store)


def test_another_spec_makes_the_tables_that_follow_from_it_anew(store: Path) -> None:
    before = times(store)
    spec = store / "studies" / NAME / "spec.yaml"
    spec.write_text(f'{spec.read_text()}expect: ["baseline >= 0"]\n')
    spoil_replicates(store)
    found = analysis.analyze(NAME, store=store)
    assert "expectations" in found
    after = times(store)
    assert all(
        after[name] > before[name]
        for name in before.keys() - {"plan.parquet", "alignments.parquet", "guide_taps.parquet"}
    )
