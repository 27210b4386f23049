"""Guides ranked before training, a real study of them, and what its table says afterwards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy import stats

from analysis.parquet_files import METADATA_KEY
from tests.helpers.command_line import Archprior

pytestmark = pytest.mark.processes

GUIDES: list[dict[str, Any]] = [
    {"name": "resnet2d", "width": 2, "blocks": 1},
    {"name": "resnet2d", "width": 4, "blocks": 1},
    {"name": "plain_convnet2d", "width": 2, "blocks": 1},
    {"name": "plain_convnet2d", "width": 4, "blocks": 2},
    {"name": "fcn", "depth": 3, "width": 16},
]
SPEC: dict[str, Any] = {
    "name": "choice",
    "task": {"name": "translated_digits", "places": 1},
    "targets": [{"name": "fcn", "depth": 2, "width": 32}],
    "guides": GUIDES,
    "controls": [],
    "seeds": 2,
    "train": {"steps": 6, "batch_size": 50, "report_every": 3},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("advise")


@pytest.fixture(scope="module")
def spec(folder: Path) -> Path:
    path = folder / "spec.yaml"
    path.write_text(json.dumps(SPEC | {"states": ["trained", "untrained"]}))
    return path


@pytest.fixture(scope="module")
def store(folder: Path) -> Path:
    """A store in which untrained guides were studied; their architectures were trained alone."""
    from study import Study

    outcome = Study(**SPEC, states=["untrained"]).run(store=folder / "store", local=True)
    assert outcome.complete
    return folder / "store"


def advised(archprior: Archprior, *arguments: object) -> dict[str, Any]:
    status, out, err = archprior("advise", *map(str, arguments), "--json")
    assert status == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_before_training_untrained_guides_are_ranked(
    archprior: Archprior, spec: Path, tmp_path: Path
) -> None:
    status, out, err = archprior("advise", str(spec), "--store", str(tmp_path / "none"))
    assert (status, err) == (0, "")
    assert "untrained guides, evenly_spaced; by alignment before training" in out
    assert out.count("not known: its guide is not trained in the store") == 5
    assert "no study in the store can tell" in out
    assert not (tmp_path / "none").exists()
    found = advised(archprior, spec, "--store", tmp_path / "none", "--seeds", 1)
    known = [each for each in found["candidates"] if each["state"] == "untrained"]
    assert [each["rank"] for each in known] == [1, 2, 3, 4, 5]
    values = [each["alignment"] for each in known]
    assert values == sorted(values, reverse=True)
    assert {each["n"] for each in known} == {1}
    assert (found["records"], found["unread"]) == ([], {})


def test_a_real_study_has_its_predictors(store: Path) -> None:
    folder = store / "studies" / "choice"
    table = pd.read_parquet(folder / "predictors.parquet")
    assert len(table) == 4 * 5
    assert table[["value", "difference", "predicted"]].notna().all(axis=None)
    assert (set(table["guides"]), set(table["targets"]), set(table["n"])) == ({5}, {1}, {2})
    transfer = pd.read_parquet(folder / "transfer.parquet").query("primary")
    difference = transfer.set_index("guide")["difference"]
    for predictor, rows in table.groupby("predictor"):
        assert rows["difference"].tolist() == difference[rows["guide"]].tolist()
        expected = stats.spearmanr(rows["value"], rows["difference"]).statistic
        assert rows["spearman"].iloc[0] == pytest.approx(expected), predictor
    score = table[table["predictor"] == "guide_score"].set_index("guide")["value"]
    alone = transfer.set_index("guide")["guide_alone"]
    assert score.to_dict() == pytest.approx(alone.to_dict())


def test_values_are_of_mapped_taps(store: Path) -> None:
    """Of one guide, from the other files of the study."""
    folder = store / "studies" / "choice"
    table = pd.read_parquet(folder / "predictors.parquet")
    plan = pd.read_parquet(folder / "plan.parquet").query("role == 'guided'")
    guide = plan["guide"].iloc[0]
    rows = plan[plan["guide"] == guide]
    history = pd.read_parquet(folder / "history.parquet")
    metrics = history[history["replicate_id"].isin(rows["replicate_id"])]["metric"].unique()
    pairs = [tuple(m.split("/")[1:]) for m in metrics if m.startswith("distance/")]
    found = table[table["guide"] == guide].set_index("predictor")["value"]

    alignment = pd.read_parquet(folder / "alignment.parquet")
    initial = alignment[(alignment["moment"] == "initial")
                        & alignment["replicate_id"].isin(rows["baseline_id"])
                        & alignment["guide_id"].isin(rows["guide_id"])]  # fmt: skip
    mapped = [
        pair in pairs for pair in zip(initial["target_tap"], initial["guide_tap"], strict=True)
    ]
    assert sum(mapped) == 2 * len(pairs)
    assert found["initial_alignment"] == pytest.approx(initial[mapped]["similarity"].mean())

    taps = pd.read_parquet(folder / "guide_taps.parquet")
    taps = taps[taps["guide_id"].isin(rows["guide_id"]) & taps["tap"].isin([g for _, g in pairs])]
    assert set(taps["guide_moment"]) == {"initial"}
    assert found["label_similarity"] == pytest.approx(taps["label_similarity"].mean())
    assert found["effective_rank"] == pytest.approx(taps["effective_rank"].mean())


def test_advice_is_what_the_study_measures(archprior: Archprior, spec: Path, store: Path) -> None:
    table = pd.read_parquet(store / "studies" / "choice" / "predictors.parquet")
    measured = table.query("predictor == 'initial_alignment'").set_index("guide")["value"]
    found = advised(archprior, spec, "--store", store)
    untrained = {each["guide"]: each["alignment"] for each in found["candidates"]
                 if each["state"] == "untrained"}  # fmt: skip
    # On validation examples, of which there are fewer.
    assert untrained == pytest.approx(measured.to_dict(), abs=0.1)


def test_after_a_study_its_record_stands_beside_the_ranks(
    archprior: Archprior, spec: Path, store: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    found = advised(archprior, spec, "--store", store)
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before
    # The guides alone are trained ones: now they are known as well.
    assert all(each["unknown"] is None for each in found["candidates"])
    assert [each["rank"] for each in found["candidates"]] == [*range(1, 6)] * 2
    table = pd.read_parquet(store / "studies" / "choice" / "predictors.parquet")
    row = table.query("predictor == 'initial_alignment'").iloc[0]
    (record,) = found["records"]
    assert record["study"] == "choice"
    transfer = store / "studies" / "choice" / "transfer.parquet"
    created = json.loads(pq.read_schema(transfer).metadata[METADATA_KEY])["created"]
    assert record["created"] == created
    assert record["spearman"] == pytest.approx(row["spearman"])
    assert (record["guides"], record["verdict"]) == (5, row["verdict"])
    _, out, _ = archprior("advise", str(spec), "--store", str(store))
    assert f"; as of {created}): " in " ".join(out.split())
    assert "of 1 group of guides in the store that could tell" in out
    assert f"Spearman {row['spearman']:+.2f} [" in out


def test_a_study_without_the_table_says_what_writes_it(
    archprior: Archprior, spec: Path, tmp_path: Path
) -> None:
    (tmp_path / "studies" / "old").mkdir(parents=True)
    (tmp_path / "studies" / "torn").mkdir()
    (tmp_path / "studies" / "torn" / "predictors.parquet").write_bytes(b"PAR1")
    found = advised(archprior, spec, "--store", tmp_path, "--seeds", 1)
    reason = found["unread"]["old"]
    assert reason.startswith("no table predictors: archprior run SPEC measures what it needs")
    assert f"archprior analyze old --store {tmp_path} writes it" in reason
    assert "is damaged" in found["unread"]["torn"]
    _, out, _ = archprior("advise", str(spec), "--store", str(tmp_path), "--seeds", "1")
    assert "- old: no table predictors: archprior run SPEC" in out


@pytest.mark.parametrize(
    ("changes", "arguments", "words"),
    [
        ({"distances": ["distillation"], "controls": []}, [], "nothing to rank"),
        ({"guides": ["resnet3d"]}, [], "resnet3d"),
        ({}, ["--seeds", "0"], "--seeds"),
        ({}, ["--store", "/dev/null"], "--store"),
    ],
)
def test_bad_input(
    archprior: Archprior, tmp_path: Path, changes: dict[str, Any], arguments: list[str], words: str
) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(json.dumps(SPEC | {"states": ["trained"]} | changes))
    place = [] if "--store" in arguments else ["--store", str(tmp_path / "store")]
    status, out, err = archprior("advise", str(path), *place, *arguments)
    assert status == 2
    assert words in err
    assert "Traceback" not in out + err


def test_groups_of_too_few_guides_are_counted_and_not_told(
    archprior: Archprior, spec: Path, store: Path, tmp_path: Path
) -> None:
    from study import Study

    shutil.copytree(store, tmp_path / "store")
    few = SPEC | {"name": "few", "guides": GUIDES[:2], "states": ["untrained"]}
    assert Study(**few).run(store=tmp_path / "store", local=True).complete
    _, out, _ = archprior("advise", str(spec), "--store", str(tmp_path / "store"))
    assert "of 1 group of guides in the store that could tell" in out
    assert "- choice (" in out
    assert "- few (" not in out
    assert "1 group of guides cannot tell, with fewer than 5 guides" in " ".join(out.split())
