"""From a real MLflow database to tables in the store."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pytest

import analysis
from analysis import from_mlflow, parquet_files
from analysis.artifacts import Artifacts
from analysis.cells import cells
from analysis.collect import Planned, Survey, assemble
from analysis.errors import NotWrittenWarning
from analysis.measured import TABLES, Kept
from analysis.metric_names import escaped
from analysis.priors import prior_table
from analysis.schema import SCHEMAS, describe
from analysis.transfer import transfer_table

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:sqlalchemy.exc.SADeprecationWarning"
)


@pytest.fixture(scope="module")
def client(tracked):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracked.uri)


@pytest.fixture(scope="module")
def collected(client):
    return from_mlflow.collect("toy-study", client)


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import analysis, sys; dir(analysis);"
        "print({'mlflow', 'pandas', 'scipy', 'numpy', 'pyarrow', 'fsspec'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
    with pytest.raises(AttributeError, match="no attribute 'analyse'"):
        analysis.analyse  # noqa: B018


@pytest.mark.processes
def test_replicates_are_those_of_the_plan_in_its_order(collected, tracked):
    expected = tracked.full.replicates()
    found = collected.replicates
    assert found["replicate_id"].tolist() == [row["replicate_id"] for row in tracked.full.plan]
    same = [column for column in expected.columns if expected[column].notna().any()]
    pd.testing.assert_frame_equal(found[same], expected[same])


def test_what_a_run_says_of_its_replicate(collected):
    by_status = {name: rows.iloc[0] for name, rows in collected.replicates.groupby("status")}
    assert set(by_status) == {"finished", "failed", "blocked", "missing"}
    finished, failed = by_status["finished"], by_status["failed"]
    assert (finished["train_seconds"], finished["steps"]) == (1.5, 20)
    assert (finished["torch_version"], finished["device"]) == ("2.13.0", "cpu")
    assert failed["error"] == "loss is nan"
    assert failed[["test_accuracy", "test_loss", "train_seconds", "steps"]].isna().all()
    assert by_status["missing"][["run_id", "error", "test_accuracy"]].isna().all()


def test_a_finished_run_is_preferred_to_a_newer_unfinished_one(collected):
    found = collected.replicates[collected.replicates["role"] == "control"].iloc[0]
    assert found["status"] == "finished"
    assert found["device"] == "cpu"


def test_artifacts_become_long_tables(collected, tracked):
    ended = [row["replicate_id"] for row in tracked.full.plan]
    gone = {"missing", "blocked"}
    ended = [name for name in ended if tracked.full.outcomes[name] not in gone]
    expected = tracked.full.histories()
    expected = expected[expected["replicate_id"].isin(ended)].reset_index(drop=True)
    pd.testing.assert_frame_equal(collected.history, expected)
    finished = [name for name in ended if tracked.full.outcomes[name] != "failed"]
    assert collected.predictions["replicate_id"].unique().tolist() == finished
    assert len(collected.predictions) == 3 * len(finished)
    with_guide = [name for name in finished if "linear_cka" in name]
    assert collected.alignment["replicate_id"].unique().tolist() == with_guide
    assert collected.alignment["guide_collapsed"].isna().all()


def test_downloaded_artifacts_are_the_same(collected, client, monkeypatch):
    monkeypatch.setattr(Artifacts, "folder", lambda self, run: None)
    found = from_mlflow.collect("toy-study", client)
    for name in ("replicates", *TABLES):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(collected, name))


def test_runs_are_found_on_every_page(collected, client, monkeypatch):
    monkeypatch.setattr(from_mlflow, "RUNS_PER_PAGE", 7)
    found = from_mlflow.collect("toy-study", client)
    pd.testing.assert_frame_equal(found.replicates, collected.replicates)


def test_the_report_is_logged_where_there_is_one(tracked, client):
    analysis.log_report("toy-study", store=tracked.store)
    run_id = from_mlflow.parent_run("toy-study", client).info.run_id
    names = {entry.path for entry in client.list_artifacts(run_id)}
    assert "report.html" not in names
    page = tracked.store / "studies" / "toy-study" / "report.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("<html>")
    try:
        analysis.log_report("toy-study", store=tracked.store)
        logged = {entry.path for entry in client.list_artifacts(run_id)}
        assert logged - names == {"report.html"}
        with pytest.warns(NotWrittenWarning, match="the report is not in MLflow: there is no"):
            analysis.log_report(
                "toy-study", store=tracked.store, tracking_uri=f"sqlite:///{tracked.store}/no.db"
            )
    finally:
        page.unlink()


@pytest.mark.processes
def test_analyze_writes_loads_and_logs_every_table(tracked, client, collected):
    from mlflow import get_tracking_uri

    before = (get_tracking_uri(), dict(os.environ))
    tables = analysis.analyze("toy-study", store=tracked.store)
    assert (get_tracking_uri(), dict(os.environ)) == before
    # Made elsewhere, or only where the spec, which is not in this store, asks for them.
    absent = ("dials", "expectations", "search", "budget_curve", "confirm")
    names = [name for name in SCHEMAS if name not in absent]
    assert list(tables) == names
    for name, frame in tables.items():
        pd.testing.assert_frame_equal(analysis.load("toy-study", name, store=tracked.store), frame)
    logged = client.list_artifacts(
        from_mlflow.parent_run("toy-study", client).info.run_id, "tables"
    )
    assert {entry.path for entry in logged} == {f"tables/{name}.parquet" for name in names}
    arguments = (tracked.full.replicates(), tracked.full.histories(), collected.tasks)
    pd.testing.assert_frame_equal(tables["transfer"], transfer_table(*arguments))
    pd.testing.assert_frame_equal(tables["priors"], prior_table(arguments[0], arguments[2]))


def test_tables_of_the_studys_run_serve_where_they_are_of_the_same_training(
    tracked, client, monkeypatch
):
    expected = analysis.analyze("toy-study", store=tracked.store)
    read, tables, search = [], Artifacts.tables, client.search_runs

    def seen(self, runs):
        chosen = list(runs)
        read.extend(run.info.run_id for run in chosen)
        return tables(self, chosen)

    def trained_anew(*arguments, **more):
        page = search(*arguments, **more)
        for run in page:
            if run.info.run_id == anew:
                run.data.metrics["train_seconds"] += 1
        return page

    monkeypatch.setattr(Artifacts, "tables", seen)
    found = from_mlflow.collect("toy-study", client)
    assert read == []
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(found, name), expected[name])
    anew = found.replicates[found.replicates["status"] == "finished"]["run_id"].iloc[0]
    monkeypatch.setattr(client, "search_runs", trained_anew)
    found = from_mlflow.collect("toy-study", client)
    assert read == [anew]
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(found, name), expected[name])


def test_tables_of_an_upload_that_was_cut_off_do_not_serve(tracked, client, monkeypatch):
    expected = analysis.analyze("toy-study", store=tracked.store)
    run_id = from_mlflow.parent_run("toy-study", client).info.run_id
    before = client.get_run(run_id).data.tags["archprior.tables"]
    client.delete_tag(run_id, "archprior.tables")
    read, tables = [], Artifacts.tables

    def seen(self, runs):
        chosen = list(runs)
        read.extend(run.info.run_id for run in chosen)
        return tables(self, chosen)

    monkeypatch.setattr(Artifacts, "tables", seen)
    try:
        found = from_mlflow.collect("toy-study", client)
    finally:
        client.set_tag(run_id, "archprior.tables", before)
    ended = found.replicates["status"].isin(["finished", "failed"])
    assert set(read) == set(found.replicates[ended]["run_id"])
    pd.testing.assert_frame_equal(found.history, expected["history"])


def test_tables_that_mlflow_does_not_take_are_returned(tracked, monkeypatch):
    def refused(*_arguments):
        raise ConnectionError("gone")

    monkeypatch.setattr("analysis.to_mlflow.log_study", refused)
    with pytest.warns(NotWrittenWarning, match="tables are not in MLflow: gone"):
        found = analysis.analyze("toy-study", store=tracked.store)
    assert len(found["replicates"])


def test_tables_carry_the_provenance_of_the_plan(tracked):
    analysis.analyze("toy-study", store=tracked.store)
    import pyarrow.parquet as pq

    path = tracked.store / parquet_files.table_path("toy-study", "transfer")
    metadata = parquet_files.metadata_of(pq.read_table(path), "it")
    assert metadata["provenance"] == {"git_commit": "abc123"}
    assert metadata["study"] == "toy-study"


def test_a_remote_store_gets_the_tables_too(tracked):
    store = "memory://analyze-to-memory"
    with pytest.raises(ValueError, match="not a local folder: give tracking_uri"):
        analysis.analyze("toy-study", store=store)
    tables = analysis.analyze("toy-study", store=store, tracking_uri=tracked.uri)
    found = analysis.load("toy-study", "transfer", store=store)
    pd.testing.assert_frame_equal(found, tables["transfer"])


def test_a_study_of_which_nothing_finished(tracked):
    tables = analysis.analyze("empty", store=tracked.store)
    assert tables["replicates"]["status"].tolist() == ["missing", "failed", "blocked", "missing"]
    assert tables["replicates"][["test_accuracy", "test_loss"]].isna().all().all()
    for name in ("history", "predictions", "alignment"):
        assert len(tables[name]) == 0
        assert list(tables[name].columns) == describe(name)["column"].tolist()
    assert tables["transfer"]["n"].tolist() == [0, 0]
    assert tables["transfer"]["n_failed"].tolist() == [2, 2]


def test_errors_say_what_exists(tracked, tmp_path):
    with pytest.raises(ValueError, match=r"'toy-stuff'; did you mean 'toy-study'\?"):
        analysis.analyze("toy-stuff", store=tracked.store)
    with pytest.raises(ValueError, match="'bare' has no run of a study"):
        analysis.analyze("bare", store=tracked.store)
    with pytest.raises(ValueError, match=r"'planless' has no plan\.parquet"):
        analysis.analyze("planless", store=tracked.store)
    with pytest.raises(ValueError, match=r"unknown study in .*: 'toy-study' \(known: none\)"):
        analysis.analyze("toy-study", store=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_of_before_says_nothing_of_controls_chance_and_margins(collected):
    assert collected.uses["required_controls"].isna().all()
    assert "required_controls" not in collected.replicates
    assert collected.tasks["toy"].chance == {}
    assert (collected.margins, tuple(collected.confirm)) == ({}, ())


def test_a_plan_says_what_verdicts_need(full):
    table = full.plan_table(
        tasks={
            "toy": {
                "primary_metric": "accuracy",
                "higher_is_better": {"accuracy": True, "loss": False},
                "chance": {"accuracy": 0.1, "loss": None},
            }
        },
        margin={"accuracy": 0.01},
        confirm=[{"state": "trained"}],
    )
    wanted = [["shuffled", "self"] if row["role"] == "guided" else None for row in full.plan]
    column = pa.array(wanted, pa.list_(pa.string()))
    table = table.append_column("required_controls", column)
    planned = Planned.of(table, "it")
    assert planned.tasks["toy"].chance == {"accuracy": 0.1}
    survey = Survey(
        plan=table, planned=planned, outcomes={}, sources=[], compared=None,
        guide_taps=None, read=lambda sources: [], kept=lambda: Kept({}),
    )  # fmt: skip
    found = assemble(survey)
    assert found.uses["required_controls"].tolist() == wanted
    assert list(found.replicates) == [*found.uses.columns.drop("required_controls")]
    assert (found.margins, found.confirm) == ({"accuracy": 0.01}, [{"state": "trained"}])
    guided = [cell for cell in cells(found.uses) if not cell.condition.is_control]
    assert [cell.required_controls for cell in guided] == [("shuffled", "self")] * 2


def test_a_test_metric_that_the_plan_does_not_know_is_refused(client, monkeypatch):
    search = client.search_runs

    def with_another(*arguments, **more):
        page = search(*arguments, **more)
        for run in page:
            run.data.metrics["test/acuracy"] = 0.5
        return page

    monkeypatch.setattr(client, "search_runs", with_another)
    with pytest.raises(ValueError, match=r"in run \w+.*'acuracy'; did you mean 'accuracy'"):
        from_mlflow.collect("toy-study", client)


def run_with(status="finished", **metrics):
    tags = {"archprior.status": status}
    data = SimpleNamespace(metrics=metrics, tags=tags)
    return SimpleNamespace(data=data, info=SimpleNamespace(run_id="r1"))


@pytest.mark.parametrize("value", [math.nan, math.inf, sys.float_info.max, -sys.float_info.max])
def test_a_value_that_is_no_number_is_missing(value):
    outcome = from_mlflow.outcome_of(run_with(**{"test/loss": value, "test/accuracy": 0.0}))
    assert outcome.scores == {"accuracy": 0.0}
    run = run_with(**{"validation/loss": value, "validation/accuracy": 0.5})
    found = from_mlflow.validation_metrics(run, ["loss", "accuracy"])
    assert found == {"validation/accuracy": 0.5}


@pytest.mark.parametrize("name", ["acc@5", "a//b", "x" * 300, "größe [%]"])
def test_a_metric_of_any_name_is_read(name):
    outcome = from_mlflow.outcome_of(run_with(**{escaped(f"test/{name}"): 0.5}), ["other", name])
    assert outcome.scores == {name: 0.5}
    assert outcome.columns()[f"test_{name}"] == 0.5


@pytest.mark.parametrize(("status", "known"), [("finished", True), ("failed", False)])
def test_a_test_value_counts_only_when_finished(status, known):
    run = run_with(status, **{"test/loss": 0.5, "steps": 7.0})
    outcome = from_mlflow.outcome_of(run).columns()
    assert outcome["steps"] == 7
    assert ("test_loss" in outcome) == known
