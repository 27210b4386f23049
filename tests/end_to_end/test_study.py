"""A whole small study, without Ray and through Ray: the same numbers, once each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from mlflow import MlflowClient

import analysis
import trainers
from study import Study
from study.study import Outcome

SPEC: dict[str, Any] = {
    "name": "tiny",
    "controls": ["shuffled", "input"],
    "seeds": 2,
    "grids": [
        {
            "task": {"name": "translated_digits", "places": 1},
            "targets": [{"name": "fcn", "norm": "batch", "depth": 2, "width": 16}],
            "guides": [{"name": "resnet2d", "width": 2, "blocks": 1}],
            "train": {"steps": 20, "batch_size": 50, "report_every": 10},
            "guide_train": {"steps": 10},
        },
        {
            "task": {"name": "copy_paste", "length": 3, "symbols": 3},
            "targets": [{"name": "rnn", "depth": 1, "width": 16}],
            "guides": [{"name": "transformer", "depth": 1, "width": 16}],
            "states": ["untrained"],
            "controls": ["shuffled"],
            "distances": [{"name": "linear_cka", "rows": "tokens"}],
            "train": {"steps": 10, "batch_size": 16},
        },
    ],
}
#: By hand: guide, baseline, 2 guided, 2 shuffled, input; guide, baseline, guided, shuffled.
NUM_CONDITIONS = 7 + 4
TABLES = (
    "replicates", "history", "predictions", "alignment", "transfer", "pairs", "priors",
    "consistency", "guide_similarity", "predictors", "trainability",
)  # fmt: skip
#: What two runs of the same study may differ in.
VARYING = ["timestamp", "train_seconds", "run_id"]
VARYING_METRICS = ["train_seconds", "cpu_seconds"]


@dataclass(frozen=True)
class Ran:
    """A finished study and its store."""

    store: Path
    outcome: Outcome


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    store = tmp_path_factory.mktemp("local") / "store"
    return Ran(store, Study(**SPEC).run(store=store, local=True))


def tables(store: Path, study: str = "tiny") -> dict[str, pd.DataFrame]:
    folder = store / "studies" / study
    return {name: pd.read_parquet(folder / f"{name}.parquet") for name in TABLES}


def comparable(frame: pd.DataFrame) -> pd.DataFrame:
    """A table without times, hosts and run ids, in an order of its own."""
    frame = frame.drop(columns=VARYING, errors="ignore")
    if "metric" in frame:
        frame = frame[~frame["metric"].isin(VARYING_METRICS)]
    return frame.sort_values(list(frame.columns)).reset_index(drop=True)


def results(store: Path) -> dict[str, int]:
    """When each replicate was finished."""
    paths = (store / "replicates").glob("*/result.json")
    return {path.parent.name: path.stat().st_mtime_ns for path in paths}


def command(*arguments: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    root = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, [root, os.environ.get("PYTHONPATH", "")])
    )
    return subprocess.run(
        [sys.executable, "-m", "study", *map(str, arguments)],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=800, check=False,
    )  # fmt: skip


def test_all_is_finished_and_tabled(local: Ran) -> None:
    assert local.outcome.complete
    found = tables(local.store)
    replicates = found["replicates"]
    assert len(replicates) == 2 * NUM_CONDITIONS
    assert set(replicates["status"]) == {"finished"}
    assert set(found["history"]["replicate_id"]) == set(replicates["replicate_id"])
    assert set(found["predictions"]["replicate_id"]) == set(replicates["replicate_id"])
    with_taps = replicates[replicates["role"] != "guide"]
    assert set(found["alignment"]["replicate_id"]) == set(with_taps["replicate_id"])
    # Guided and control conditions, each on two metrics.
    assert len(found["transfer"]) == (5 + 2) * 2
    assert set(found["transfer"]["n"]) == {2}
    for name, frame in found.items():
        kinds = {str(kind) for kind in frame.dtypes}
        assert not any(isinstance(value, dict | list) for value in frame.to_numpy().flat), name
        assert kinds, name


def test_a_baselines_alignment_stands_beside_the_guided_targets(local: Ran) -> None:
    found = tables(local.store)
    whole = found["alignment"].query("measure == 'linear_cka(unbiased=true)'")
    replicates = found["replicates"].set_index("replicate_id")
    for identifier, row in replicates[replicates["role"] == "guided"].iterrows():
        state = {"trained": "final", "untrained": "initial"}[row["state"]]
        both = whole[(whole["guide_id"] == row["guide_id"]) & (whole["guide_moment"] == state)]
        before = both[both["replicate_id"] == row["baseline_id"]]
        after = both[both["replicate_id"] == identifier]
        assert set(before["moment"]) == {"initial", "final"}
        assert set(after["moment"]) == {"final"}
        pairs = after[["guide_tap", "target_tap", "n"]].drop_duplicates()
        assert len(pairs) == len(after) > 0
        assert len(before) == 2 * len(after)
    own = found["alignment"].query("measure == 'linear_cka(unbiased=true,estimator=batches)'")
    assert set(own["moment"]) == {"initial", "final"}
    roles = replicates["role"].loc[own["replicate_id"]]
    assert set(roles) == {"guided", "control"}
    # An `input` control shows no guide.
    assert own["guide_id"].isna().sum() == own["guide_moment"].isna().sum() > 0


def test_every_table_says_where_it_comes_from(local: Ran) -> None:
    folder = local.store / "studies" / "tiny"
    for name in TABLES:
        metadata = json.loads(pq.read_schema(folder / f"{name}.parquet").metadata[b"archprior"])
        facts = metadata["provenance"]
        assert len(facts["source_digest"]) == 64
        assert facts["torch_version"] == torch.__version__
        assert len(facts["data_fingerprint translated_digits(places=1)"]) == 16
        assert len(facts["data_fingerprint copy_paste(length=3,symbols=3)"]) == 16


def test_scores_follow_from_the_predictions(local: Ran) -> None:
    found = tables(local.store)
    predictions = found["predictions"]
    hits = predictions["label"] == predictions["prediction"]
    accuracy = hits.groupby(predictions["replicate_id"]).mean()
    replicates = found["replicates"].set_index("replicate_id")
    pd.testing.assert_series_equal(
        replicates["test_accuracy"].astype(float).sort_index(),
        accuracy.sort_index(),
        check_names=False,
        check_index_type=False,
    )


def test_differences_follow_from_the_replicates(local: Ran) -> None:
    found = tables(local.store)
    replicates = found["replicates"]
    row = found["transfer"].query("state == 'trained' and control == 'none'").iloc[0]
    guided = replicates.query("state == 'trained' and control == 'none'").set_index("seed")
    baseline = replicates[
        (replicates["role"] == "baseline") & (replicates["target"] == row["target"])
    ].set_index("seed")
    difference = guided["test_accuracy"] - baseline["test_accuracy"]
    assert row["metric"] == "accuracy"
    assert row["difference"] == pytest.approx(difference.mean())


def test_analysis_loads_what_the_run_returned(local: Ran) -> None:
    frame = analysis.load("tiny", "transfer", store=local.store)
    pd.testing.assert_frame_equal(frame, local.outcome.tables["transfer"])


def test_mlflow_holds_parent_and_children(local: Ran) -> None:
    client = MlflowClient(tracking_uri=f"sqlite:///{local.store}/mlflow.db")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if run.data.tags["archprior.kind"] == "study"]
    of = {
        kind: [run for run in runs if run.data.tags["archprior.kind"] == kind]
        for kind in ("condition", "replicate")
    }
    conditions, children = of["condition"], of["replicate"]
    assert len(runs) == 1 + len(conditions) + len(children)
    assert (len(conditions), len(children)) == (NUM_CONDITIONS, 2 * NUM_CONDITIONS)
    above = [run.data.tags["mlflow.parentRunId"] for run in children]
    assert sorted(above) == sorted(2 * [run.info.run_id for run in conditions])
    assert {run.data.tags["mlflow.parentRunId"] for run in conditions} == {parent.info.run_id}
    assert {run.data.tags["archprior.status"] for run in children} == {"finished"}
    assert parent.info.status == "FINISHED"
    names = {entry.path for entry in client.list_artifacts(parent.info.run_id, "tables")}
    assert names == {f"tables/{name}.parquet" for name in TABLES}


def test_load_returns_the_trained_network(local: Ran) -> None:
    found = tables(local.store)
    replicates = found["replicates"]
    chosen = replicates[(replicates["role"] == "guided") & (replicates["state"] == "trained")]
    identifier = str(chosen["replicate_id"].iloc[0])
    network = trainers.load(local.store, identifier)
    task = Study(**SPEC).spec.blocks[0].task[0].components()[0]
    from trainers import tasks

    with torch.no_grad():
        predicted = network(tasks.build(task).test.inputs).argmax(-1)
    stored = found["predictions"].set_index("replicate_id").loc[identifier].sort_values("example")
    assert stored["prediction"].tolist() == predicted.tolist()


def test_run_again_trains_nothing(local: Ran) -> None:
    before = results(local.store)
    again = Study(**SPEC).run(store=local.store, local=True)
    assert again.complete
    assert results(local.store) == before
    for name, frame in tables(local.store).items():
        pd.testing.assert_frame_equal(
            comparable(frame), comparable(local.outcome.tables[name]), check_dtype=False
        )


def test_more_seeds_and_other_studies_reuse_what_is_there(local: Ran) -> None:
    before = results(local.store)
    more = Study(**{**SPEC, "name": "tiny-more", "seeds": 3}).run(store=local.store, local=True)
    assert more.complete
    after = results(local.store)
    assert {identifier: after[identifier] for identifier in before} == before
    assert len(after) == len(before) + NUM_CONDITIONS
    # A study of its own of the same store: guides and baselines are there, what is guided is new.
    first = SPEC["grids"][0] | {"schedule": {"alpha": 3}, "controls": []}
    other = Study(name="tiny-other", seeds=2, grids=[first]).run(store=local.store, local=True)
    new = results(local.store).keys() - after.keys()
    roles = {r.id: r.condition.role for r in other.progress.plan.replicates}
    assert sorted(roles[identifier] for identifier in new) == ["guided"] * 4
    replicates = tables(local.store, "tiny-other")["replicates"]
    assert len(replicates) == 8
    assert replicates["test_accuracy"].notna().all()


@pytest.mark.processes
def test_ray_gives_the_same_tables(local: Ran, tmp_path: Path) -> None:
    spec, store = tmp_path / "tiny.yaml", tmp_path / "store"
    spec.write_text(json.dumps(SPEC))
    done = command("run", spec, "--store", store, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verdict" in done.stdout
    assert "\x1b" not in done.stdout
    found = tables(store)
    for name, frame in local.outcome.tables.items():
        pd.testing.assert_frame_equal(
            comparable(found[name]), comparable(frame), check_dtype=False, check_exact=True
        )
    for identifier in results(store):
        mine, its = trainers.load(local.store, identifier), trainers.load(store, identifier)
        for name, tensor in mine.state_dict().items():
            assert torch.equal(tensor, its.state_dict()[name]), (identifier, name)
    # Nothing is left beside the store.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "tiny.yaml"]
    before = results(store)
    again = command("run", spec, "--store", store, cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert results(store) == before


@pytest.mark.processes
def test_debug_runs_a_study_in_a_store_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(json.dumps(SPEC))
    done = command("run", "tiny.yaml", "--debug", "--local", cwd=tmp_path, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{NUM_CONDITIONS} replicates, {NUM_CONDITIONS} to train" in done.stdout
    assert not list(tmp_path.glob("archprior-debug-*")), "it is thrown away"
    assert not (tmp_path / "archprior-store").exists()
