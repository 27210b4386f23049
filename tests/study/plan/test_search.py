"""Plans with a search: they grow with the results, to what was counted before."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest

from analysis.contract import Status
from study.plan import cost
from study.plan.progress import Progress
from study.spec.read import SpecError
from tests.helpers.search import SEARCH, MadeUp, grown, planned
from trainers.store.store import Store

#: Baseline, guided, shuffled, input.
NUM_ARMS = 4


def roles(plan: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for replicate in plan.replicates:
        found[replicate.role] = found.get(replicate.role, 0) + 1
    return found


def test_a_plan_grows_batch_by_batch_to_what_was_counted() -> None:
    plans = grown()
    # Two batches, then the winners; the guide alone needs no search.
    guides = 2
    assert [roles(plan) for plan in plans] == [
        {"guide": 2, "candidate": guides + 2 * 2 * NUM_ARMS},
        {"guide": 2, "candidate": guides + 3 * 2 * NUM_ARMS},
        {"guide": 2, "baseline": 2, "guided": 2, "control": 4, "candidate": 2 + 3 * 2 * NUM_ARMS},
    ]
    counted = [(plan.later.num_candidates, plan.later.num_winners) for plan in plans]
    assert counted == [(2 * NUM_ARMS, 2 * NUM_ARMS), (0, 2 * NUM_ARMS), (0, 0)]
    assert len({len(plan) + len(plan.later) for plan in plans}) == 1


def test_what_was_planned_stays() -> None:
    plans = grown()
    for before, after in itertools.pairwise(plans):
        assert {r.id for r in before.replicates} <= {r.id for r in after.replicates}


def test_every_arm_gets_the_same_budget_at_the_tuning_seeds() -> None:
    *_, plan = grown()
    rows = [row for row in plan.rows() if row["trial"] is not None and row["role"] == "candidate"]
    trials: dict[Any, set[tuple[int, int]]] = {}
    for row in rows:
        arm = (row["arm"], row["state"], row["control"])
        trials.setdefault(arm, set()).add((row["trial"], row["seed"]))
    assert len(trials) == NUM_ARMS
    assert set(map(len, trials.values())) == {3 * 2}
    assert {row["seed"] for row in rows} == {100, 101}
    own = {row["seed"] for row in plan.rows() if row["role"] != "candidate"}
    assert own == {0, 1}


def test_winners_have_the_best_mean_of_their_arm() -> None:
    *_, plan = grown()
    everything = MadeUp()
    for use in plan.uses:
        if use.arm is None or use.planned.is_candidate:
            continue
        means = {
            trial.number: sum(
                everything.value(trial.condition, seed, "validation/accuracy") or 0.0
                for seed in (100, 101)
            )
            for trial in use.arm.trials
        }
        assert use.trial is not None
        assert use.trial.number == max(means, key=means.__getitem__)
        assert use.condition == use.trial.condition
        row = use.row(0)
        assert row["point"] == json.dumps(dict(use.trial.point))
        assert (row["budget"], row["select"]) == (3, "validation/accuracy")


def test_the_baseline_of_a_row_is_the_tuned_baseline() -> None:
    *_, plan = grown()
    (baseline,) = [r for r in plan.replicates if r.role == "baseline" and r.seed == 1]
    ids = {row["baseline_id"] for row in plan.rows() if row["seed"] == 1}
    assert ids == {None, baseline.id}


def test_labels_say_what_is_tuned() -> None:
    for plan in grown():
        rows = [*plan.rows(), *plan.first_rows()]
        targets = {row["target"] for row in rows if row["role"] not in ("guide", "candidate")}
        assert targets == {"fcn(depth=2,width=8,dropout=tuned)"}
        guided = [row for row in rows if row["guide"] is not None]
        assert {row["schedule"] for row in guided} == {"alpha=tuned"}
        assert {row["alpha"] for row in guided} == {None}


def test_rows_that_wait_are_known_to_rules() -> None:
    first = planned(expect=["trained - baseline >= 0"])
    rows = first.first_rows()
    assert [row["role"] for row in rows] == ["guide", "baseline", "guided", "control", "control"]
    with pytest.raises(SpecError, match="no condition of the study"):
        planned(expect=["untrained - baseline >= 0"])


def test_the_guide_keeps_its_settings_at_every_seed() -> None:
    *_, plan = grown()
    guides = {p.condition for p in plan.conditions if p.condition.is_guide}
    assert len(guides) == 1
    (guide,) = guides
    assert guide.train.lr == 1e-3


def test_a_point_met_twice_trains_once() -> None:
    space = {"train.lr": [0.1, 0.2], "schedule.alpha": [1, 2]}
    *_, plan = grown(search=SEARCH | {"space": space})
    rows = [row for row in plan.rows() if row["arm"] == "baseline" and row["role"] == "candidate"]
    assert sorted({row["trial"] for row in rows}) == [0, 1, 2]
    assert len({row["replicate_id"] for row in rows}) == 2 * 2
    assert sum(p.condition.role == "baseline" and p.is_candidate for p in plan.conditions) == 2


def test_a_failed_candidate_is_tried_no_more_and_lost_to_none() -> None:
    first = planned()
    failed = {r.id for r in first.replicates if r.role == "candidate" and r.labels["guide"] is None}
    plan = planned(MadeUp(None, failed))
    assert not plan.later
    for use in plan.uses:
        if use.condition.role == "baseline" and not use.planned.is_candidate:
            assert use.trial is not None
            assert use.trial.number == 2


def test_an_axis_over_a_searched_key_is_refused() -> None:
    with pytest.raises(SpecError, match="differ only in keys that are searched"):
        planned(schedule=[{"alpha": 1}, {"alpha": 2}])
    with pytest.raises(SpecError, match="differ only in keys that are searched"):
        planned(axes={"train.lr": [0.1, 0.2]})


def test_debug_asks_for_one_batch_at_one_seed() -> None:
    from study import Study
    from tests.helpers.search import SPEC

    plan = Study(**SPEC).plan(debug=True)
    assert not plan.later.num_candidates
    assert {r.seed for r in plan.replicates} == {0, 100}
    assert {p.num_steps for p in plan.conditions} == {2}


def test_the_cost_is_known_before(tmp_path: Any) -> None:
    plans = grown()
    store = Store(tmp_path)
    estimates = [cost.estimate(Progress(plan, store)) for plan in plans]
    totals = [estimate.todo_seconds + estimate.later_seconds for estimate in estimates]
    assert estimates[0].later_seconds > 0
    assert estimates[-1].later_seconds == 0
    assert totals[0] == pytest.approx(totals[-1], rel=0.05)


def test_progress_goes_on_with_the_grown_plan(tmp_path: Any) -> None:
    plans = grown()
    progress = Progress(plans[0], Store(tmp_path))
    assert progress.take(plans[1])
    assert len(progress.todo) == len(plans[1])
    assert not progress.take(plans[1])


def test_who_reads_while_the_plan_grows_finds_the_states_of_all_it_lists(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's thread looks at any time: also while the store is listed, which takes a while."""
    plans = grown()
    progress = Progress(plans[0], Store(tmp_path))
    surveyed = Store.surveyed

    def slow(store: Store, names: Any) -> Any:
        assert {r.id for r in progress.plan.replicates} <= progress.states.keys()
        assert progress.states.keys() <= progress.by_id.keys()
        found = surveyed(store, names)
        # What another thread learns meanwhile stays.
        store.replicate(plans[0].replicates[0].id).fail(ValueError("no"))
        assert progress.refresh(plans[0].replicates[0].id).status == Status.failed
        return found

    monkeypatch.setattr(Store, "surveyed", slow)
    progress.take(plans[1])
    assert progress.states[plans[0].replicates[0].id].status == Status.failed


def test_controls_of_the_targets_own_taps_follow_its_searched_depth() -> None:
    space = {"targets.depth": [1, 3], "train.lr": [0.1]}
    controls = [{"name": "labels", "at": "all"}, "self", "shuffled"]
    *_, plan = grown(search=SEARCH | {"space": space}, controls=controls)
    depths: dict[str, set[int]] = {}
    for each in plan.conditions:
        for term in each.condition.terms:
            depths.setdefault(term.control.name, set()).add(each.condition.target.kwargs["depth"])
            if term.control.name == "self":
                assert term.guide.architecture == each.condition.target
    assert depths == {key: {1, 3} for key in ("none", "labels", "self", "shuffled")}


def test_notes_on_controls_do_not_depend_on_the_batch() -> None:
    notes = [plan.notes() for plan in grown(controls=["shuffled"])]
    assert notes[0]
    assert notes == [notes[0]] * 3


@pytest.mark.parametrize("sizes", [[100, 4, 50, 2, 20, 10], {"low": 2, "high": 200}])
def test_values_that_do_not_fit_are_refused_before_anything_is_trained(sizes: Any) -> None:
    search = SEARCH | {"space": {"train.batch_size": sizes}}
    message = r'search.space: \{"train.batch_size": 2\}: train.batch_size: 2 gives batches of 1 row'
    with pytest.raises(SpecError, match=message):
        planned(search=search)


@pytest.mark.parametrize(
    "space",
    [
        {"train.lr": {"low": 1e-4, "high": 1, "log": True}},
        {"train.lr": {"low": 1e-4, "high": 1, "log": True}, "train.steps": [4, 6, 8]},
        {"train.lr": [1e-4, 1e-3, 1e-2], "targets.dropout": [0, 0.1]},
    ],
)
def test_matched_baselines_are_the_tuned_baseline_for_longer(space: Any) -> None:
    search = SEARCH | {"space": space | {"schedule.alpha": [1, 2]}}
    states = ["trained", "untrained"]
    *_, plan = grown(search=search, states=states, baselines=["matched"])
    own = [p for p in plan.conditions if p.role == "baseline"]
    (tuned,) = [p for p in own if not p.use.is_matched]
    longer = [p for p in own if p.use.is_matched]
    assert longer
    for each in longer:
        assert each.condition.train.steps > tuned.num_steps
        train = replace(each.condition.train, steps=tuned.num_steps, epochs=None)
        assert replace(each.condition, train=train) == tuned.condition
        assert f"train.steps={each.num_steps}" in each.labels["target"]
        assert each.use.row(0)["trial"] is None
    assert len({p.labels["target"] for p in own}) == len(own)
    assert tuned.use.row(0)["trial"] is not None
