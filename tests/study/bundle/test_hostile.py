"""More bundles from untrusted hands: what is read late, or shown, or meets another file."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from study.bundle import bringing, reading
from study.errors import SpecError


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "store"


def refused(path: Path, target: Path, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        bringing.bring(path, target)
    assert not [each for each in target.rglob("*") if not each.is_dir()]


def named(files: dict[str, bytes], end: str) -> str:
    return next(each for each in files if each.endswith(end))


@pytest.mark.processes
@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a", "a/b"), "is a file and a folder"),
        (("a/b/c.py", "a/b"), "is a file and a folder"),
        (("Net.py", "net.py"), "are one file on some systems"),
    ],
)
def test_files_that_meet(spoiled: Any, target: Path, names: tuple[str, ...], message: str) -> None:
    more = {f"studies/small/imports/{name}": b"x = 1" for name in names}
    refused(spoiled(lambda files: files.update(more)), target, message)


def test_a_local_name_that_is_no_text(spoiled: Any, target: Path) -> None:
    """The directory says UTF-8, and the entry itself has other bytes."""
    path = spoiled()
    content = bytearray(path.read_bytes())
    spec = content.index(b"studies/small/spec.yaml")
    entry = content.rindex(b"studies/small/spec.yaml") - 46
    content[entry + 9] |= 0x08
    content[spec] = 0xFF
    path.write_bytes(content)
    refused(path, target, "spec.yaml' is damaged")


def test_an_entry_before_the_file(spoiled: Any, target: Path) -> None:
    path = spoiled()
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"studies/small/spec.yaml") - 46
    content[entry + 42 : entry + 46] = (2**32 - 2).to_bytes(4, "little")
    path.write_bytes(content)
    refused(path, target, "is damaged|no zip file")


def table_with(content: bytes, column: str, value: Any) -> bytes:
    table = pq.read_table(io.BytesIO(content))
    index = table.column_names.index(column)
    values = pa.array([value] * len(table), table.schema.field(column).type)
    buffer = io.BytesIO()
    pq.write_table(table.set_column(index, table.schema.field(column), values), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("table", ["transfer", "replicates"])
def test_tables_with_control_characters(spoiled: Any, target: Path, table: str) -> None:
    def change(files: dict[str, bytes]) -> None:
        name = f"studies/small/{table}.parquet"
        files[name] = table_with(files[name], "target", "\x1b]0;evil\x07fcn")

    refused(spoiled(change), target, "control characters in target")


def test_provenance_with_control_characters(spoiled: Any, target: Path) -> None:
    def change(files: dict[str, bytes]) -> None:
        files[named(files, "provenance.json")] = b'{"git_commit": "\\u001b[31m"}'

    refused(spoiled(change), target, "control characters")


def test_a_plan_of_many_rows_in_few_bytes(
    spoiled: Any, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_PLAN_ROWS", 5)
    refused(spoiled(), target, "rows; a plan has 5 at most")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("metrics", {"test/accuracy": "high"}, "metrics are no numbers"),
        ("metrics", [1.0], r"metrics is \[1.0\], no Mapping"),
        ("steps", "many", "steps is 'many', no int"),
        ("ended", True, "ended is True, no float"),
    ],
)
def test_results_of_other_types(
    spoiled: Any, target: Path, field: str, value: Any, message: str
) -> None:
    def change(files: dict[str, bytes]) -> None:
        name = named(files, "result.json")
        files[name] = json.dumps(json.loads(files[name]) | {field: value}).encode()

    refused(spoiled(change), target, message)


def test_results_whose_files_are_others(spoiled: Any, target: Path) -> None:
    def other(files: dict[str, bytes]) -> None:
        name = named(files, "result.json")
        result = json.loads(files[name])
        result["files"]["history.parquet"][1] = "0" * 64
        files[name] = json.dumps(result).encode()

    refused(spoiled(other), target, "history.parquet' is not what the replicate's result.json")

    def gone(files: dict[str, bytes]) -> None:
        files.pop(named(files, "result.json").replace("result.json", "history.parquet"))

    refused(spoiled(gone), target, "history.parquet' is listed in the replicate's result.json")


def test_files_of_another_store_are_not_brought(spoiled: Any, target: Path) -> None:
    more = {f"studies/small/{name}.json": b"{}" for name in ("mlflow_runs", "lease")}
    bringing.bring(spoiled(lambda files: files.update(more)), target)
    assert not (target / "studies" / "small" / "mlflow_runs.json").exists()
    assert not (target / "studies" / "small" / "lease.json").exists()


def test_sizes_that_are_none(bundle: Path, target: Path) -> None:
    with pytest.raises(SpecError, match="--max-gib: nan"):
        bringing.bring(bundle, target, max_gib=float("nan"))
    assert bringing.bring(bundle, target, max_gib=float("inf")).num_added == 10
