"""What docs/security.md says: files that others wrote are data, and reach no other place."""

from __future__ import annotations

import os
import pickle
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import analysis
from analysis.contract import SPEC
from analysis.errors import DamagedFileError, UserError
from analysis.parquet_files import METADATA_KEY, decode, encode, read_spec, table_path
from analysis.report import StudyTables
from analysis.schema import frame_of, schema
from study import Study
from study.errors import SpecError
from tests.helpers.command_line import Archprior
from tests.helpers.made_study import MadeStudy
from trainers.errors import UserError as TrainersUserError
from trainers.guides import pretrained
from trainers.store import checkpoint
from trainers.store.store import CorruptError, Store
from trainers.store.tables import History

ESCAPES = ["../x", "..", "a/b", "/etc", "a\\b", "x\x00", "", ".hidden", "A", "s3://b/x"]


class Harmful:
    """Makes a file where it is unpickled."""

    def __init__(self, made: Path) -> None:
        self._made = made

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._made),)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "store"
    MadeStudy(targets=["fcn"], guides=["vit"], seeds=2, reports=2).write(folder)
    return folder


@pytest.mark.parametrize("name", ESCAPES)
def test_names_of_studies_lead_nowhere(store: Path, archprior: Archprior, name: str) -> None:
    with pytest.raises(SpecError, match="name"):
        Study(name=name, task="translated_digits", targets=["fcn"])
    for read in (
        lambda: analysis.load(name, "transfer", store=store),
        lambda: analysis.analyze(name, store=store),
        lambda: StudyTables(name, store),
        lambda: read_spec(store, name),
    ):
        with pytest.raises(UserError, match="is not a name of the form"):
            read()
    if "\x00" not in name:
        for command in ("report", "status", "analyze", "check"):
            assert archprior(command, name, "--store", store)[0] == 2


@pytest.mark.parametrize("table", ["../../../etc/passwd", "spec.yaml", "../made/transfer", ""])
def test_names_of_tables_lead_nowhere(store: Path, table: str) -> None:
    with pytest.raises(UserError, match="unknown table"):
        analysis.load("made", table, store=store)


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_pickled_code_in_weights_is_refused(tmp_path: Path, suffix: str) -> None:
    made, file = tmp_path / "made", tmp_path / f"weights{suffix}"
    for write in (torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))):
        write({"layer.weight": Harmful(made)}, file)
        with pytest.raises(TrainersUserError, match="holds no tensors alone, or is damaged"):
            pretrained.of_file(file)
    file.with_suffix(".safetensors").write_bytes(pickle.dumps(Harmful(made)))
    with pytest.raises(TrainersUserError, match="holds no tensors alone, or is damaged"):
        pretrained.of_file(file.with_suffix(".safetensors"))
    assert not made.exists()


def test_pickled_code_in_a_checkpoint_is_refused(tmp_path: Path) -> None:
    """Also where its digest is right: who writes into a store can write digests, too."""
    made, replicate = tmp_path / "made", Store(tmp_path / "store").replicate("0" * 16)
    save = {"weights": {}, "learned": {}, "optimizer": {}, "balance": None, "window": {}}
    harmful = checkpoint.Checkpoint(step=1, train_seconds=0.0, **save | {"window": Harmful(made)})
    history = History(replicate.id)
    checkpoint.save(replicate, harmful, history)
    with pytest.raises((CorruptError, pickle.UnpicklingError)):
        checkpoint.load(replicate, history)
    assert not made.exists()


@pytest.mark.processes
@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.mkdir [MADE]",
        "a: !!python/name:os.system",
        "a: " + "[" * 5000,
        "a: &a [*a]",
    ],
)
def test_a_spec_in_a_store_is_data(store: Path, tmp_path: Path, text: str) -> None:
    made, path = tmp_path / "made", tmp_path / "studies" / "made" / SPEC
    path.parent.mkdir(parents=True)
    path.write_text(text.replace("MADE", str(made)))
    if "&a" not in text:
        with pytest.raises(DamagedFileError, match=r"spec.yaml is damaged"):
            read_spec(tmp_path, "made")
        assert StudyTables("made", tmp_path).spec == {}
    with pytest.raises(SpecError):
        Study.load(path)
    assert not made.exists()


ROW = {
    "replicate_id": "a", "example": 0, "position": 0, "label": 1, "prediction": 2, "cluster": 0,
}  # fmt: skip
WHOLE = encode(frame_of([ROW], schema("predictions")), "predictions", {"study": "s"})


def told(metadata: bytes) -> bytes:
    table = pq.read_table(pa.BufferReader(WHOLE))
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: metadata}), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


@pytest.mark.parametrize(
    "metadata", [b"", b"{", b"[]", b"5", b"{}", b'{"schema_version": "x"}', b"\xff", b"[" * 9999]
)
def test_what_tables_say_of_themselves_may_be_anything(metadata: bytes) -> None:
    with pytest.raises(UserError, match=r"^it "):
        decode(told(metadata), "predictions", "it")


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    at=st.integers(0, len(WHOLE) - 1),
    removed=st.integers(0, 40),
    added=st.binary(max_size=40),
)
def test_tables_of_any_bytes_are_read_or_refused(at: int, removed: int, added: bytes) -> None:
    content = WHOLE[:at] + added + WHOLE[at + removed :]
    with suppress(UserError):
        decode(content, "predictions", "it")


def test_the_page_of_a_damaged_table_is_one_line(
    archprior: Archprior, store: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(store, tmp_path / "store"))
    (copy / table_path("made", "transfer")).write_bytes(told(b"[]"))
    status, _, err = archprior("report", "made", "--store", copy)
    assert status == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
