"""Schemas and files: round trips, versions, atomic writes, and the page that describes them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis import parquet_files
from analysis.contract import CONDITION_COLUMNS
from analysis.errors import DamagedFileError, UserError
from analysis.schema import (
    SCHEMA_VERSION,
    SCHEMAS,
    describe,
    document,
    frame_of,
    schema,
)
from analysis.schema.about import about

METADATA = {"study": "toy-study", "created": "2030-01-01T00:00:00+00:00", "provenance": {}}
PAGE = Path(__file__).parents[2] / "docs" / "tables.md"


def row_of(target, *, nulls):
    """A row with a value of the right type in each column, or null wherever that is allowed."""
    samples = {
        pa.string(): "text",
        pa.int64(): 2**53 + 1,
        pa.float64(): 0.25,
        pa.bool_(): True,
        pa.timestamp("ms", tz="UTC"): pd.Timestamp("2030-01-01 12:00:00.123", tz="UTC"),
    }
    return {
        field.name: None if nulls and field.nullable else samples[field.type] for field in target
    }


def sample(table):
    target = schema(table, ["accuracy", "loss"])
    return frame_of([row_of(target, nulls=False), row_of(target, nulls=True)], target)


@pytest.mark.parametrize("table", SCHEMAS)
def test_every_column_is_described(table):
    described = describe(table)
    assert described["description"].str.len().min() > 5
    assert described["column"].is_unique


@pytest.mark.parametrize(
    "table",
    [
        "replicates",
        "transfer",
        "pairs",
        "priors",
        "consistency",
        "guide_similarity",
        "predictors",
    ],
)
def test_condition_columns_come_first(table):
    assert tuple(describe(table)["column"][: len(CONDITION_COLUMNS)]) == CONDITION_COLUMNS


def test_replicates_hold_a_column_for_each_metric():
    names = schema("replicates", ["accuracy", "loss"]).names
    at = names.index("steps")
    assert names[at + 1 : at + 4] == ["test_accuracy", "test_loss", "torch_version"]
    pointers = ["baseline_id", "guide_id", "matched_id", "matched_full_id"]
    assert names[-8:] == ["num_pairs", *pointers, "flops", "budget", "chosen"]


@pytest.mark.parametrize("table", SCHEMAS)
def test_round_trip(table):
    frame = sample(table)
    found = parquet_files.decode(parquet_files.encode(frame, table, METADATA), table, "a file")
    pd.testing.assert_frame_equal(found, frame)
    empty = frame.iloc[:0]
    found = parquet_files.decode(parquet_files.encode(empty, table, METADATA), table, "a file")
    pd.testing.assert_frame_equal(found, empty)


def test_numbers_that_may_be_missing_are_nullable_and_others_plain():
    found = sample("transfer").dtypes.astype(str)
    assert found[["n", "num_pairs", "higher_is_better", "at_ceiling"]].tolist() == [
        "int64",
        "Int64",
        "bool",
        "boolean",
    ]


@pytest.mark.parametrize("table", SCHEMAS)
def test_pandas_alone_reads_the_same(table):
    frame = sample(table)
    found = pd.read_parquet(io.BytesIO(parquet_files.encode(frame, table, METADATA)))
    pd.testing.assert_frame_equal(found, frame)


def test_a_file_tells_its_version_study_and_meanings():
    data = parquet_files.encode(
        sample("transfer"), "transfer", METADATA | {"provenance": {"a": "b"}}
    )
    found = pq.read_schema(io.BytesIO(data))
    assert json.loads(found.metadata[b"archprior"]) == {
        "schema_version": SCHEMA_VERSION,
        "table": "transfer",
        "study": "toy-study",
        "created": "2030-01-01T00:00:00+00:00",
        "provenance": {"a": "b"},
    }
    assert b"Hedges" in found.field("effect_size").metadata[b"description"]


def test_a_null_where_none_is_allowed_is_refused():
    frame = sample("transfer").astype({"n": "Int64"})
    frame.loc[0, "n"] = pd.NA
    with pytest.raises(ValueError, match="n"):
        parquet_files.encode(frame, "transfer", METADATA)


def with_version(data, version):
    content = pq.read_table(io.BytesIO(data))
    ours = json.loads(content.schema.metadata[b"archprior"]) | {"schema_version": version}
    metadata = {**content.schema.metadata, b"archprior": json.dumps(ours)}
    return content.replace_schema_metadata(metadata)


def as_bytes(content):
    buffer = io.BytesIO()
    pq.write_table(content, buffer)
    return buffer.getvalue()


def test_a_newer_file_says_to_upgrade():
    content = with_version(
        parquet_files.encode(sample("priors"), "priors", METADATA), SCHEMA_VERSION + 1
    )
    with pytest.raises(
        ValueError, match=rf"a/file has schema version {SCHEMA_VERSION + 1}.*upgrade archprior"
    ):
        parquet_files.decode(as_bytes(content), "priors", "a/file")


def test_an_older_file_lacks_columns_and_is_read():
    content = with_version(parquet_files.encode(sample("transfer"), "transfer", METADATA), 0)
    content = content.drop_columns(["n_failed", "at_ceiling", "verdict"])
    found = parquet_files.decode(as_bytes(content), "transfer", "a file")
    assert list(found.columns) == describe("transfer")["column"].tolist()
    assert found[["n_failed", "at_ceiling", "verdict"]].isna().all().all()
    assert found["n"].tolist() == sample("transfer")["n"].tolist()


def test_a_file_of_version_1_is_read():
    """The file was written by archprior when `SCHEMA_VERSION` was 1."""
    path = Path(__file__).parent / "files" / "transfer-version-1.parquet"
    raw = pq.read_table(path)
    assert parquet_files.metadata_of(raw, "it")["schema_version"] == 1
    found = parquet_files.decode(path.read_bytes(), "transfer", "it")
    assert list(found.columns) == describe("transfer")["column"].tolist()
    guided = found[found["control"] == "none"]
    assert guided["verdict"].tolist() == [
        "helps, guide-specific",
        "helps, guide-specific",
        "helps, specificity not established",
        "helps, specificity not established",
    ]
    assert guided["difference"].tolist() == pytest.approx([0.195, 0.195, 0.102, 0.102])
    new = [name for name in found.columns if name not in raw.column_names]
    assert {"labels", "primary", "verdict_adjusted", "difference_worst"} <= set(new)
    assert (found["treatment"] == "guidance").all()
    assert found[new].drop(columns="treatment").isna().all().all()


def test_a_file_of_somebody_else_is_refused():
    data = as_bytes(pa.table({"n": [1]}))
    with pytest.raises(ValueError, match="was not written by archprior"):
        parquet_files.decode(data, "transfer", "a file")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    parquet_files.write(tmp_path, "studies/a/transfer.parquet", b"old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        parquet_files.write(tmp_path, "studies/a/transfer.parquet", b"new")
    folder = tmp_path / "studies" / "a"
    assert [entry.name for entry in folder.iterdir()] == ["transfer.parquet"]
    assert (folder / "transfer.parquet").read_bytes() == b"old"


def test_a_reader_of_the_old_file_is_not_disturbed(tmp_path):
    parquet_files.write(tmp_path, "table.parquet", b"old")
    with (tmp_path / "table.parquet").open("rb") as reader:
        parquet_files.write(tmp_path, "table.parquet", b"new")
        assert reader.read() == b"old"
    assert (tmp_path / "table.parquet").read_bytes() == b"new"


@pytest.fixture(params=["local", "file", "memory"])
def store(request, tmp_path):
    if request.param != "memory":
        yield tmp_path if request.param == "local" else tmp_path.as_uri()
        return
    yield f"memory://{tmp_path.name}"
    fsspec.filesystem("memory").rm(f"/{tmp_path.name}", recursive=True)


def test_a_store_may_be_a_folder_or_a_uri(store):
    frame = sample("transfer")
    path = parquet_files.table_path("toy-study", "transfer")
    parquet_files.write(store, path, parquet_files.encode(frame, "transfer", METADATA))
    pd.testing.assert_frame_equal(parquet_files.read(store, "toy-study", "transfer"), frame)


def test_unknown_studies_and_tables_name_what_exists(store):
    parquet_files.write(store, parquet_files.table_path("toy-study", "transfer"), b"")
    with pytest.raises(ValueError, match=r"'toy-stud'; did you mean 'toy-study'\?"):
        parquet_files.read(store, "toy-stud", "transfer")
    with pytest.raises(ValueError, match=r"'transfers'; did you mean 'transfer'\? \(known: tran"):
        parquet_files.read(store, "toy-study", "transfers")
    with pytest.raises(ValueError, match="is not a name of the form"):
        parquet_files.read(store, "../toy-study", "transfer")


def test_files_that_tables_are_made_of_are_read_as_written(store):
    plan = pa.table({"replicate_id": ["a", "b"], "seed": pa.array([0, None], pa.int64())})
    buffer = io.BytesIO()
    pq.write_table(plan, buffer)
    for name in parquet_files.SOURCES:
        parquet_files.write(store, f"studies/toy-study/{name}.parquet", buffer.getvalue())
        frame = parquet_files.read(store, "toy-study", name)
        assert frame["replicate_id"].tolist() == ["a", "b"]
        assert frame["seed"].isna().tolist() == [False, True]


def test_a_source_that_is_damaged_or_newer_says_so(store):
    told = {parquet_files.METADATA_KEY: json.dumps({"schema_version": SCHEMA_VERSION + 1})}
    buffer = io.BytesIO()
    pq.write_table(pa.table({"seed": [0]}).replace_schema_metadata(told), buffer)
    path = "studies/toy-study/plan.parquet"
    parquet_files.write(store, path, buffer.getvalue())
    with pytest.raises(UserError, match="upgrade archprior to read it"):
        parquet_files.read(store, "toy-study", "plan")
    parquet_files.write(store, path, buffer.getvalue()[:-30])
    with pytest.raises(DamagedFileError, match=r"damaged.*archprior run SPEC writes it anew"):
        parquet_files.read(store, "toy-study", "plan")


def test_a_parquet_file_of_someone_else_is_no_table(store):
    parquet_files.write(store, "studies/toy-study/mine.parquet", b"")
    with pytest.raises(UserError, match=r"unknown table.*'mine' \(known: none\)"):
        parquet_files.read(store, "toy-study", "mine")


def test_a_store_without_studies_says_so(tmp_path):
    with pytest.raises(ValueError, match=r"unknown study .* \(known: none\)"):
        parquet_files.read(tmp_path, "toy-study", "transfer")


def test_the_page_is_written_from_the_schemas():
    current = PAGE.read_text(encoding="utf-8")
    assert current == document.page(current), "run python -m analysis.schema.document"
    for table in SCHEMAS:
        assert f"### `{table}.parquet`\n\n{about(table)}\n\n- `" in current


def test_the_page_tells_of_the_files_that_tables_are_made_of():
    current = PAGE.read_text(encoding="utf-8")
    missing = [name for name in parquet_files.SOURCES if f"- `{name}.parquet`: " not in current]
    assert missing == []


def test_the_page_is_written_by_a_command(tmp_path):
    path = tmp_path / "tables.md"
    path.write_text(f"By hand.\n\n{document.MARK}\nof before\n", encoding="utf-8")
    document.main([str(path)])
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"By hand.\n\n{document.MARK}\n\n### `replicates.parquet`\n\nOne row")
    assert "- `n` (int64): seeds at which baseline and guided both finished\n" in text
    assert "of before" not in text
    with pytest.raises(ValueError, match="has no line <!--"):
        document.page("By hand.")


@pytest.mark.parametrize("keep", [0, 100, -30])
def test_a_damaged_file_is_named(keep):
    data = parquet_files.encode(sample("transfer"), "transfer", METADATA)
    with pytest.raises(DamagedFileError, match=r"^a/file is damaged .*: archprior analyze STUDY"):
        parquet_files.decode(data[:keep], "transfer", "a/file")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"name: [", b"a: b: c"])
def test_a_damaged_spec_is_named(tmp_path, content):
    folder = tmp_path / "studies" / "toy"
    folder.mkdir(parents=True)
    (folder / "spec.yaml").write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"toy/spec.yaml is damaged .*: archprior run SPEC"):
        parquet_files.read_spec(tmp_path, "toy")
