"""A study with a search, without Ray: the same trials whatever happens between them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

import analysis
from study import Study
from study.run import status
from study.study import Outcome
from tests.helpers.search import SPEC as SMALL
from tests.helpers.stores import finished
from trainers.store.store import Store

pytestmark = pytest.mark.processes

SPEC: dict[str, Any] = SMALL | {"controls": ["shuffled"]}
#: Three trials of baseline, guided and shuffled, and a guide, at two tuning seeds.
NUM_CANDIDATES = (3 * 3 + 1) * 2
NUM_REPLICATES = 4 * 2


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    store = tmp_path_factory.mktemp("search") / "store"
    return store, Study(**SPEC).run(store=store, local=True)


def check_same(store: Path, outcome: Outcome) -> None:
    for name in ("search", "budget_curve", "transfer", "priors", "predictions"):
        found = pd.read_parquet(store / "studies" / "tuned" / f"{name}.parquet")
        wanted = outcome.tables[name]
        columns = [name for name in wanted if not str(name).startswith("run_id")]
        pd.testing.assert_frame_equal(
            found[columns], wanted[columns], check_dtype=False, check_exact=True, obj=name
        )


def test_every_arm_is_searched_and_every_row_tuned(ran: tuple[Path, Outcome]) -> None:
    store, outcome = ran
    assert outcome.complete
    assert len(finished(store)) == NUM_CANDIDATES + NUM_REPLICATES
    search = outcome.tables["search"]
    assert search.groupby(["role", "control"], dropna=False).size().tolist() == [3, 3, 3]
    assert search.groupby("role")["chosen"].sum().tolist() == [1, 1, 1]
    for _, arm in search.groupby("role"):
        assert arm.loc[arm["chosen"], "value"].tolist() == [arm["value"].max()]
    transfer = outcome.tables["transfer"]
    assert transfer["tuned"].all()
    assert set(transfer["budget"]) == {3}
    chosen = search[search["chosen"]].set_index("role")["point"]
    for role, control in (("guided", "none"), ("control", "shuffled")):
        points = set(transfer.loc[transfer["control"] == control, "chosen"])
        assert points == {chosen[role]}


def test_the_settings_that_won_are_those_that_are_trained(ran: tuple[Path, Outcome]) -> None:
    store, outcome = ran
    replicates = outcome.tables["replicates"]
    for row in replicates[replicates["chosen"].notna()].to_dict("records"):
        point = json.loads(row["chosen"])
        condition = Store(store).replicate(row["replicate_id"]).condition()
        assert condition.train.lr == point["train.lr"]
        assert condition.target.kwargs["dropout"] == point["targets.dropout"]
        if condition.guidance is not None:
            assert condition.guidance.schedule.alpha == point["schedule.alpha"]


def test_tuning_seeds_are_in_no_other_table(ran: tuple[Path, Outcome]) -> None:
    _, outcome = ran
    replicates = outcome.tables["replicates"]
    assert set(replicates["seed"]) == {0, 1}
    assert len(replicates) == NUM_REPLICATES
    own = set(replicates["replicate_id"])
    for name in ("history", "predictions", "alignment"):
        assert set(outcome.tables[name]["replicate_id"]) <= own, name


def test_candidates_are_a_kind_of_their_own_in_mlflow(ran: tuple[Path, Outcome]) -> None:
    store, _ = ran
    client = MlflowClient(tracking_uri=f"sqlite:///{store}/mlflow.db")
    experiment = client.get_experiment_by_name("tuned")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    kinds = pd.Series([run.data.tags["archprior.kind"] for run in runs]).value_counts()
    assert kinds.to_dict() == {
        "condition": 4, "search": 4,
        "candidate": NUM_CANDIDATES, "replicate": NUM_REPLICATES, "study": 1,
    }  # fmt: skip
    searches = {r.info.run_id for r in runs if r.data.tags["archprior.kind"] == "search"}
    candidates = [r for r in runs if r.data.tags["archprior.kind"] == "candidate"]
    assert {r.data.tags["mlflow.parentRunId"] for r in candidates} == searches


def test_mlflow_alone_gives_the_same_tables(ran: tuple[Path, Outcome], tmp_path: Path) -> None:
    store, outcome = ran
    found = analysis.analyze(
        "tuned", store=tmp_path / "none", tracking_uri=f"sqlite:///{store}/mlflow.db"
    )
    for name in ("search", "budget_curve", "transfer"):
        pd.testing.assert_frame_equal(found[name], outcome.tables[name], check_exact=True)


def test_run_again_trains_nothing(ran: tuple[Path, Outcome]) -> None:
    store, outcome = ran
    before = finished(store)
    assert Study(**SPEC).run(store=store, local=True).complete
    assert finished(store) == before
    check_same(store, outcome)
    assert not status.load("tuned", Store(store)).later["winners"]


@pytest.mark.parametrize(
    "kept", [16, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, 5, 25))]
)
def test_it_goes_on_from_any_place(ran: tuple[Path, Outcome], tmp_path: Path, kept: int) -> None:
    """After a kill the store holds the replicates that had finished, and an older plan."""
    store, outcome = ran
    copy = Path(shutil.copytree(store, tmp_path / "store"))
    order = sorted(finished(store).items(), key=lambda item: item[1])
    for identifier, _ in order[kept:]:
        shutil.rmtree(copy / "replicates" / identifier)
    again = Study(**SPEC).run(store=copy, local=True)
    assert again.complete
    assert finished(copy).keys() == finished(store).keys()
    check_same(copy, outcome)


def test_candidates_that_diverge_are_the_worst_and_the_study_ends_well(tmp_path: Path) -> None:
    space = {"train.lr": [1e-3, 1e38]}
    changes = {"search": SPEC["search"] | {"space": space}, "controls": []}
    outcome = Study(**SPEC | changes).run(store=tmp_path / "store", local=True)
    assert outcome.complete
    search = outcome.tables["search"]
    rates = search["point"].map(lambda text: json.loads(text)["train.lr"])
    assert (search["status"] == "failed").tolist() == (rates == 1e38).tolist()
    assert set(search["status"]) == {"failed", "finished"}
    assert set(rates[search["chosen"]]) == {1e-3}
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/store/mlflow.db")
    experiment = client.get_experiment_by_name("tuned")
    assert experiment is not None
    (parent,) = client.search_runs([experiment.experiment_id], "tags.`archprior.kind` = 'study'")
    assert parent.info.status == "FINISHED"


def test_a_candidate_tried_again_leads_to_what_is_finished(
    ran: tuple[Path, Outcome], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, outcome = ran
    copy = Path(shutil.copytree(store, tmp_path / "store"))
    candidate = next(
        r for r in outcome.progress.plan.replicates
        if r.role == "candidate" and r.condition.role == "baseline"
    )  # fmt: skip
    (copy / "replicates" / candidate.id / "result.json").unlink()
    Store(copy).replicate(candidate.id).fail(RuntimeError("out of memory"))
    again = Study(**SPEC).run(store=copy, local=True, retry=True)
    assert again.complete
    check_same(copy, outcome)
    said = capsys.readouterr().out
    assert "training 1 replicates in 1 trial," in said
    assert "training 0 replicates" not in said
