"""A study's own run in MLflow: description, metrics by cell, figures, view."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from analysis import saved_view, study_note, to_mlflow
from analysis.encoded_tables import EncodedTables
from analysis.pairs import pair_table
from analysis.parquet_files import encode
from analysis.schema import schema
from analysis.transfer import transfer_table
from tests.analysis.conftest import TASKS, ToyStudy

pytestmark = pytest.mark.processes

NASTY = "<script>alert(1)</script>|[x](y)*"


def toy(guide: str = "cnn", target: str = "fcn") -> ToyStudy:
    study = ToyStudy().guide({0: 0.9, 1: 0.92, 2: 0.91}, guide)
    study.baseline({0: 0.5, 1: 0.52, 2: 0.51}, target)
    study.guided({0: 0.7, 1: 0.73, 2: 0.72}, guide=guide, target=target)
    return study.control("shuffled", {0: 0.5, 1: 0.51, 2: 0.5}, guide=guide, target=target)


def tables_of(study: ToyStudy) -> dict[str, Any]:
    replicates = study.replicates()
    return {
        "transfer": transfer_table(replicates, study.histories(), TASKS),
        "pairs": pair_table(replicates, TASKS),
    }


def note_of(study: ToyStudy, question: str = "Does it help?") -> str:
    return study_note.note(question, tables_of(study)["transfer"])


def test_the_description_has_question_matrix_and_verdicts() -> None:
    note = note_of(toy())
    assert note.startswith("**Does it help?**\n\n### toy\n")
    assert "|  | fcn |" in note
    # Differences .2, .21 and .21, by hand.
    assert "| cnn trained | **+0.207 [+0.192, +0.221]** |" in note
    assert "- fcn &lt;- cnn trained: helps, specificity not established (n 3;" in note
    assert "0.510 unguided, 0.717 guided" in note


def test_what_is_not_finished_is_said() -> None:
    study = ToyStudy().guide({0: 0.9}).baseline({0: 0.5}).guided({0: "missing"})
    assert "| cnn trained | not finished |" in note_of(study)


def test_what_failed_is_not_waiting() -> None:
    study = ToyStudy().guide({0: 0.9}).baseline({0: 0.5, 1: 0.5, 2: 0.5})
    note = note_of(study.guided({0: "failed", 1: "failed", 2: "failed"}))
    assert "| cnn trained | 3 guided failed |" in note
    assert "not established (n 0; 3 guided failed)" in note
    some = ToyStudy().guide({0: 0.9}).baseline({0: 0.5, 1: "failed", 2: 0.51})
    assert "(n 2; 1 unguided failed;" in note_of(some.guided({0: 0.7, 1: 0.7, 2: 0.73}))


def test_a_study_without_guidance_has_a_question_alone() -> None:
    study = ToyStudy().guide({0: 0.9}).baseline({0: 0.5})
    transfer = tables_of(study)["transfer"]
    assert study_note.guided_rows(transfer) == []
    assert "unguided?" in study_note.asked([])
    assert study_note.note("Why?", transfer).startswith("**Why?**")
    assert set(to_mlflow.cell_metrics([]).values()) == {0.0}


def test_names_with_markup_are_text() -> None:
    from markdown_it import MarkdownIt

    note = note_of(toy(NASTY, NASTY), NASTY)
    shown = MarkdownIt("commonmark", {"html": True}).enable("table").render(note)
    assert set(re.findall(r"<(\w+)", shown)) <= {
        "p", "strong", "h3", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "code", "em",
    }  # fmt: skip
    assert "<em>" not in shown
    assert shown.count("&lt;script&gt;") >= 4


def test_a_long_description_is_cut_off_and_says_so() -> None:
    study = ToyStudy()
    for number in range(60):
        guide = f"guide-with-a-long-name-{number}"
        study.guide({0: 0.9, 1: 0.9}, guide).guided({0: 0.7, 1: 0.73}, guide=guide)
    study.baseline({0: 0.5, 1: 0.52})
    note = note_of(study)
    assert len(note) <= study_note.LONGEST
    kept = note.splitlines()
    (more,) = re.findall(r"\.\.\. and (\d+) more lines", note)
    whole = 60 * 2 + 11
    assert len(kept) - 2 + int(more) == pytest.approx(whole, abs=4)


def test_metrics_by_cell_are_the_tables() -> None:
    rows = study_note.guided_rows(tables_of(toy())["transfer"])
    metrics = to_mlflow.cell_metrics(rows)
    assert metrics["difference/accuracy/fcn from cnn trained"] == pytest.approx(0.62 / 3)
    low, high = (metrics[f"difference_{x}/accuracy/fcn from cnn trained"] for x in ("low", "high"))
    assert low < 0.62 / 3 < high
    counts = {name: value for name, value in metrics.items() if name.startswith("cells")}
    assert counts == {"cells": 1, "cells_better": 1, "cells_worse": 0}


@pytest.fixture
def run(tmp_path: Path) -> tuple[MlflowClient, str]:
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.create_experiment("toy-study", (tmp_path / "artifacts").as_uri())
    return client, client.create_run(experiment).info.run_id


def log(run: tuple[MlflowClient, str], study: ToyStudy, question: str | None = None) -> Any:
    client, run_id = run
    frames = tables_of(study)
    tables = EncodedTables({name: encode(frames[name], name, {}) for name in frames})
    inputs = hashlib.sha256(b"".join(tables.files.values())).hexdigest()
    to_mlflow.log_study(client, client.get_run(run_id), tables, inputs, question)
    return client.get_run(run_id)


def test_all_is_logged_to_the_studys_run(run: tuple[MlflowClient, str], tmp_path: Path) -> None:
    client, run_id = run
    found = log(run, toy())
    assert found.data.tags["mlflow.note.content"].startswith("**How much of what cnn brings to toy")
    assert "difference/accuracy/fcn from cnn trained" in found.data.metrics
    figures = client.list_artifacts(run_id, "figures")
    assert {entry.path for entry in figures} == {"figures/forest.png", "figures/matrix.png"}
    png = next((tmp_path / "artifacts" / run_id).rglob("matrix.png")).read_bytes()
    assert png.startswith(b"\x89PNG")
    assert len(png) > 5000
    assert [entry.path for entry in client.list_artifacts(run_id, "tables")] == [
        "tables/pairs.parquet",
        "tables/transfer.parquet",
    ]


def test_names_with_markup_are_logged(run: tuple[MlflowClient, str]) -> None:
    found = log(run, toy(NASTY, NASTY), NASTY)
    (name,) = (name for name in found.data.metrics if name.startswith("difference/"))
    assert name.startswith("difference/accuracy/script alert 1 script x y from script")


def test_the_same_again_adds_no_point(run: tuple[MlflowClient, str]) -> None:
    client, run_id = run
    name = "difference/accuracy/fcn from cnn trained"
    log(run, toy())
    log(run, toy())
    assert len(client.get_metric_history(run_id, name)) == 1
    changed = toy()
    changed.outcomes = {
        k: v if not k.startswith("guided") else 0.9 for k, v in changed.outcomes.items()
    }
    found = log(run, changed)
    assert len(client.get_metric_history(run_id, name)) == 2
    assert found.data.metrics[name] == pytest.approx(0.39)


@pytest.mark.parametrize("upload", ["tables", "report"])
def test_what_an_upload_that_was_cut_off_left_is_not_vouched_for(
    upload: str, run: tuple[MlflowClient, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(toward: str) -> None:
        if upload == "tables":
            log(run, toy(target=toward))
        else:
            to_mlflow.log_report(client, client.get_run(run_id), toward.encode())

    def cut_off(*_arguments: Any, **_options: Any) -> None:
        raise ConnectionError("gone")

    client, run_id = run
    tag = f"archprior.{upload}"
    put("first")
    vouched = client.get_run(run_id).data.tags[tag]
    with monkeypatch.context() as patch:
        patch.setattr(to_mlflow, "log", cut_off)
        with pytest.raises(ConnectionError):
            put("second")
    assert tag not in client.get_run(run_id).data.tags
    # Nor by going back to what was there before.
    put("first")
    assert client.get_run(run_id).data.tags[tag] == vouched


def test_a_tag_that_another_process_has_removed_is_no_error(run: tuple[MlflowClient, str]) -> None:
    client, run_id = run
    to_mlflow.log_report(client, client.get_run(run_id), b"first")
    read_before = client.get_run(run_id)
    client.delete_tag(run_id, "archprior.report")
    to_mlflow.log_report(client, read_before, b"second")
    vouched = client.get_run(run_id).data.tags["archprior.report"]
    assert vouched == hashlib.sha256(b"second").hexdigest()[:32]


def test_an_experiment_has_a_description_and_a_view_until_a_user_changes_them(
    run: tuple[MlflowClient, str],
) -> None:
    client, run_id = run
    log(run, toy(), "Why?")
    experiment = client.get_experiment(client.get_run(run_id).info.experiment_id)
    assert experiment.tags["mlflow.note.content"] == "Why?"
    view = json.loads(experiment.tags[saved_view.TAG])
    packed = view["state"].removeprefix("deflate;")
    state = json.loads(zlib.decompress(base64.b64decode(packed)))
    assert view["name"] == "Conditions"
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`test/accuracy`", False)
    shown = [chart["selectedMetricKeys"] for chart in state["compareRunCharts"]]
    assert ["validation/accuracy", "validation/accuracy/low", "validation/accuracy/high"] in shown
    client.set_experiment_tag(experiment.experiment_id, "mlflow.note.content", "mine")
    client.set_experiment_tag(experiment.experiment_id, saved_view.TAG, "mine, too")
    log(run, toy(), "Why?")
    again = client.get_experiment(experiment.experiment_id).tags
    assert (again["mlflow.note.content"], again[saved_view.TAG]) == ("mine", "mine, too")


def test_the_schema_has_what_the_description_reads() -> None:
    names = set(schema("transfer").names)
    assert {"primary", "verdict", "interval", "specific_control", "difference_low"} <= names
