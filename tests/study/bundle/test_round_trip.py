"""A study goes out of a store and comes back into another, with its ids."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

import analysis
from analysis.errors import NotWrittenWarning, UserError
from study.bundle import bringing, writing
from study.bundle.bringing import Brought
from study.errors import SpecError
from study.plan.states import States
from study.run import status
from study.run.comparing import side
from tests.helpers.command_line import Archprior
from trainers import load
from trainers.store.store import Store


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "elsewhere"


def states(store: Path) -> dict[str, str]:
    progress: States = status.load("small", Store(store)).progress
    return {name: state.status.value for name, state in progress.states.items()}


def test_a_study_comes_back_with_its_ids(analyzed: Path, bundle: Path, target: Path) -> None:
    assert bringing.bring(bundle, target) == Brought("small", 10, 0, 0, 0, weights=False)
    assert states(target) == states(analyzed)
    before, after = analyzed / "studies" / "small", target / "studies" / "small"
    for name in ("spec.yaml", "plan.parquet", "transfer.parquet"):
        assert (after / name).read_bytes() == (before / name).read_bytes()
    assert not list(target.glob("**/.import-*"))
    assert not list(target.glob("**/*.safetensors"))


def test_its_tables_are_made_anew_to_the_same_numbers(
    analyzed: Path, bundle: Path, target: Path
) -> None:
    bringing.bring(bundle, target)
    with pytest.warns(NotWrittenWarning):
        tables = analysis.analyze("small", store=target)
    for name in ("replicates", "transfer", "history", "predictions"):
        expected = analysis.load("small", name, store=analyzed)
        pd.testing.assert_frame_equal(tables[name], expected)


def test_it_can_be_compared(analyzed: Path, bundle: Path, target: Path) -> None:
    from analysis.comparison import comparison_table

    bringing.bring(bundle, target)
    table = comparison_table(*(side("small", str(each)).tables for each in (analyzed, target)))
    assert set(table["outcome"].dropna()) == {"same replicates"}


def test_weights_come_where_they_were_asked_for(
    analyzed: Path, target: Path, tmp_path: Path
) -> None:
    path = tmp_path / "whole.zip"
    written = writing.export("small", analyzed, path, weights=True)
    assert (written.num_replicates, written.num_absent) == (10, 2)
    assert written.num_bytes == path.stat().st_size
    assert bringing.bring(path, target).weights
    finished = next(name for name, state in states(target).items() if state == "finished")
    before, after = (load(store, finished) for store in (analyzed, target))
    for name, value in before.state_dict().items():
        assert (after.state_dict()[name] == value).all()


def test_without_weights_a_network_says_why_it_cannot_be_loaded(bundle: Path, target: Path) -> None:
    bringing.bring(bundle, target)
    finished = next(name for name, state in states(target).items() if state == "finished")
    with pytest.raises(FileNotFoundError, match=r"imported without it .archprior export study"):
        load(target, finished)


def test_a_bundle_of_an_imported_study_is_the_same(
    bundle: Path, target: Path, tmp_path: Path
) -> None:
    import zipfile

    bringing.bring(bundle, target)
    again = tmp_path / "again.zip"
    writing.export("small", target, again, license="CC-BY-4.0")
    with zipfile.ZipFile(bundle) as one, zipfile.ZipFile(again) as two:
        assert one.namelist() == two.namelist()
        for name in one.namelist():
            if name not in ("bundle.json", "croissant.json"):
                assert one.read(name) == two.read(name), name


def test_what_the_store_has_stays(analyzed: Path, bundle: Path, target: Path) -> None:
    shutil.copytree(analyzed, target)
    results = sorted(target.glob("replicates/*/result.json"))
    other, unfinished, gone = results[:3]
    content = json.loads(other.read_text())
    content["metrics"]["test/accuracy"] = 0.987
    other.write_text(json.dumps(content))
    unfinished.unlink()
    shutil.rmtree(gone.parent)
    table = target / "studies" / "small" / "transfer.parquet"
    table.write_bytes(b"mine")
    kept = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    found = bringing.bring(bundle, target)
    # The failed guide counts as unfinished: this store may try it again.
    assert found == Brought("small", 1, 6, 2, 1, weights=False)
    for path, before in kept.items():
        assert path.read_bytes() == before
    assert "finished here with other numbers, kept" in " ".join(bringing.lines(found))


def test_the_commands_that_go_on_name_the_store(
    archprior: Archprior, bundle: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(target.parent)
    status, out, _ = archprior("import", bundle, "--store", target.name)
    assert status == 0
    assert out.endswith(
        f"archprior status small --store {target.name} and archprior analyze small --store "
        f"{target.name} go on from here\n"
    )


@pytest.mark.parametrize("name", ["spec.yaml", "plan.parquet"])
def test_another_study_of_the_name_is_refused(
    analyzed: Path, bundle: Path, target: Path, name: str
) -> None:
    shutil.copytree(analyzed / "studies", target / "studies")
    (target / "studies" / "small" / name).write_bytes(b"another")
    with pytest.raises(SpecError, match=rf"another study 'small' \(its {name} differs\)"):
        bringing.bring(bundle, target)
    assert not (target / "replicates").exists()


def test_a_damaged_store_is_not_exported(analyzed_copy: Path, tmp_path: Path) -> None:
    predictions = next(analyzed_copy.glob("replicates/*/predictions.parquet"))
    predictions.write_bytes(bytes(len(predictions.read_bytes())))
    with pytest.raises(SpecError, match=r"predictions.parquet is damaged; archprior run SPEC"):
        writing.export("small", analyzed_copy, tmp_path / "small.zip")
    assert not (tmp_path / "small.zip").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"to": "small.tar"}, "a file that ends in .zip"),
        ({"to": "a file/small.zip"}, "cannot be written"),
        ({"study": "smal"}, "unknown study in .*did you mean 'small'"),
        ({"license": "by me!"}, "neither a file nor an SPDX identifier"),
    ],
)
def test_mistakes(
    analyzed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a file").touch()
    given = {"study": "small", "to": "small.zip", "license": "MIT"} | arguments
    with pytest.raises((SpecError, UserError), match=message):
        writing.export(given["study"], analyzed, given["to"], license=given["license"])
