"""A study with both kinds of further baselines, without Ray: planned, trained and tabled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from scipy import stats

import trainers
from study import Study
from study.plan.replicates import Replicate
from study.study import Outcome
from trainers.messages import silent

pytestmark = pytest.mark.processes

#: With this rate validation accuracy goes up and down, and peaks before the end.
SPEC: dict[str, Any] = {
    "name": "baselines",
    "task": {"name": "translated_digits", "places": 1},
    "targets": [{"name": "fcn", "norm": "batch", "depth": 2, "width": 8}],
    "guides": [{"name": "resnet2d", "width": 2, "blocks": 1}],
    "states": ["trained"],
    "controls": ["shuffled"],
    "baselines": ["matched", "best_validation"],
    "seeds": 3,
    "train": {
        "steps": 20, "batch_size": 20, "report_every": 2, "lr": 1.0, "optimizer": "sgd",
        "lr_schedule": "cosine",
    },
    "guide_train": {"steps": 4, "lr": 0.02},
}  # fmt: skip


@dataclass(frozen=True)
class Ran:
    """A finished study and its store."""

    store: Path
    outcome: Outcome

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.store / "studies" / "baselines" / f"{name}.parquet")

    def replicates(self, *, matched: bool) -> list[Replicate]:
        found = [r for r in self.outcome.progress.plan.replicates if r.role == "baseline"]
        return [r for r in found if r.planned.use.is_matched == matched]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    store = tmp_path_factory.mktemp("baselines") / "store"
    return Ran(store, Study(**SPEC).run(store=store, local=True))


def guided(ran: Ran, metric: str = "accuracy") -> Any:
    table = ran.table("transfer")
    chosen = table[(table["control"] == "none") & (table["metric"] == metric)]
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_matched_baselines_are_trained_and_paired(ran: Ran) -> None:
    replicates = ran.table("replicates").set_index("replicate_id")
    rows = replicates[replicates["role"] == "guided"]
    found = guided(ran)
    for name in ("matched", "matched_full"):
        other = replicates.loc[rows[f"{name}_id"]]
        assert (other["role"] == "baseline").all()
        assert (other["steps"] > 20).all()
        assert other["seed"].tolist() == rows["seed"].tolist()
        values = rows["test_accuracy"].to_numpy(), other["test_accuracy"].to_numpy()
        assert found[f"baseline_{name}"] == pytest.approx(values[1].mean())
        assert found[f"difference_{name}"] == pytest.approx((values[0] - values[1]).mean())
        interval = stats.ttest_rel(*values).confidence_interval(0.95)
        limits = found[f"difference_{name}_low"], found[f"difference_{name}_high"]
        assert limits == pytest.approx((interval.low, interval.high))
    assert found["matched_n"] == found["matched_full_n"] == 3
    assert found["flops"] > 0


def test_the_plain_baseline_is_not_taken_for_a_matched_one(ran: Ran) -> None:
    replicates = ran.table("replicates")
    rows = replicates[replicates["role"] == "baseline"]
    plain = rows[rows["target"] == "fcn(depth=2,norm=batch,width=8)"]
    assert (plain["steps"] == 20).all()
    assert len(plain) == 3
    assert guided(ran)["baseline"] == pytest.approx(plain["test_accuracy"].mean())
    assert rows.groupby(["target", "seed"]).size().max() == 1
    client = MlflowClient(tracking_uri=f"sqlite:///{ran.store}/mlflow.db")
    experiment = client.get_experiment_by_name("baselines")
    assert experiment is not None
    replicates_alone = "tags.`archprior.kind` = 'replicate' and "
    query = "params.role = 'baseline' and params.target = 'fcn(depth=2,norm=batch,width=8)'"
    runs = client.search_runs([experiment.experiment_id], replicates_alone + query)
    assert {run.data.tags["archprior.replicate_id"] for run in runs} == set(plain["replicate_id"])
    query = replicates_alone + "params.matched = 'True'"
    runs = client.search_runs([experiment.experiment_id], query)
    expected = {replicate.id for replicate in ran.replicates(matched=True)}
    assert {run.data.tags["archprior.replicate_id"] for run in runs} == expected


def test_a_matched_baseline_is_an_ordinary_replicate(ran: Ran, tmp_path: Path) -> None:
    (replicate, *_) = ran.replicates(matched=True)
    alone = trainers.train(replicate.condition, seed=replicate.seed, store=tmp_path, report=silent)
    assert alone.replicate_id == replicate.id
    result = ran.outcome.progress.states[replicate.id].result
    assert result is not None
    assert dict(result.metrics) == alone.metrics


def test_both_arms_at_their_peak(ran: Ran) -> None:
    history = ran.table("history")
    replicates = ran.table("replicates")
    peaks, best = [], {}
    for role in ("baseline", "guided"):
        rows = replicates[
            (replicates["role"] == role) & ~replicates["target"].str.contains("steps")
        ]
        values = []
        for name in rows["replicate_id"]:
            own = history[(history["replicate_id"] == name) & (history["step"] > 0)]
            wide = own.pivot(index="step", columns="metric", values="value")
            peak = wide["validation/accuracy"].idxmax()
            values.append(wide.loc[peak, "test_at_best/accuracy"])
            peaks.append(peak)
        best[role] = np.array(values)
    assert min(peaks) < 20
    found = guided(ran)
    assert found["baseline_best"] == pytest.approx(best["baseline"].mean())
    assert found["guided_best"] == pytest.approx(best["guided"].mean())
    assert found["difference_best"] == pytest.approx((best["guided"] - best["baseline"]).mean())
    assert found["guided"] == pytest.approx(
        replicates.loc[replicates["role"] == "guided", "test_accuracy"].mean()
    )


def test_targets_are_judged_beside_their_guide(ran: Ran) -> None:
    table, history, replicates = (
        ran.table(name) for name in ("trainability", "history", "replicates")
    )
    assert table["metric"].tolist() == ["accuracy", "loss"]
    (row,) = table[table["primary"]].to_dict("records")
    assert (row["target"], row["n"], row["n_failed"]) == ("fcn(depth=2,norm=batch,width=8)", 3, 0)
    sampled = history[history["metric"] == "train_sample/accuracy"].set_index("replicate_id")
    assert set(sampled.index) == set(replicates["replicate_id"])
    for label, columns in ((row["target"], ""), (row["guide"], "guide_")):
        own = replicates[replicates["target"] == label]
        own = own[own["role"].isin(["baseline", "guide"])]
        train = sampled.loc[own["replicate_id"], "value"].mean()
        assert row[f"{columns}train"] == pytest.approx(train)
        assert row[f"{columns}gap"] == pytest.approx(train - own["test_accuracy"].mean())


def test_what_was_finished_before_is_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = SPEC | {"baselines": [], "seeds": 1, "controls": []}
    spec["train"] = SPEC["train"] | {"steps": 4}
    Study(**spec).run(store=tmp_path / "store", local=True)
    assert "best_validation" not in capsys.readouterr().out
    asked = spec | {"baselines": ["best_validation"]}
    outcome = Study(**asked).run(store=tmp_path / "store", local=True)
    said = " ".join(capsys.readouterr().out.split())
    assert "note: 2 of 2 finished replicates were trained before baselines: best" in said
    transfer = outcome.tables["transfer"]
    assert transfer[["baseline_best", "guided_best", "difference_best"]].isna().all(axis=None)
    # A seed that is trained now has them; the row stays without.
    more = Study(**asked | {"seeds": 2}).run(store=tmp_path / "store", local=True)
    said = " ".join(capsys.readouterr().out.split())
    assert "note: 2 of 4 finished replicates" in said
    assert more.tables["transfer"]["guided_best"].isna().all()
