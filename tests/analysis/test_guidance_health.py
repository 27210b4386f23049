"""Signs of guidance in real histories, in which it stops, decays, comes first or now and then."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import trainers
from analysis.guidance_health import guidance_summary
from analysis.schema import frame_of, schema
from trainers.conditions.schedule import AlignFirst, Schedule

STEPS, WINDOW, STOP = 12, 5, 7
SMALL = {
    "task": {"name": "translated_digits", "places": 1},
    "target": {"name": "fcn", "depth": 2, "width": 16},
    "guide": {"name": "resnet2d", "width": 2, "blocks": 1},
    "state": "untrained",
}
SCHEDULES = {
    "stops": {"alpha": 2.0, "stop_step": STOP},
    "stops at a report": {"alpha": 2.0, "stop_step": 10},
    "never stops": {"alpha": 2.0},
    "decays": {"alpha": 2.0, "stop_step": STOP, "decay": "linear"},
    "ends in the first step": {"stop_step": 1},
    "every third step": {"alpha": 2.0, "every": 3},
    "seldom": {"alpha": 2.0, "every": 8},
    "every other step, stops": {"alpha": 2.0, "every": 2, "scale_alpha": True, "stop_step": STOP},
}


def ran(schedule, report_every):
    train = {"steps": STEPS, "batch_size": 20, "report_every": report_every, "lr": 1e-2}
    return trainers.train(SMALL | {"train": train, "schedule": schedule}, report=lambda _: None)


def history_of(result):
    stamp = pd.Timestamp("2030-01-01", tz="UTC")
    rows = [
        {"replicate_id": "it", "step": p.step, "timestamp": stamp, "metric": p.metric,
         "value": p.value}
        for p in result.history.points
    ]  # fmt: skip
    return frame_of(rows, schema("history"))


def replicates_of(schedule):
    first = schedule.get("align_first")
    fields = schedule if first is None else {"align_first": AlignFirst(**first)}
    row = {"stop_step": schedule.get("stop_step"), "schedule": Schedule(**fields).label}
    return pd.DataFrame({"replicate_id": ["it"]} | {name: [value] for name, value in row.items()})


def summary(result, schedule):
    return guidance_summary(history_of(result), replicates_of(schedule)).loc["it"]


def steps_of(result):
    """Distance, loss and task loss of each step, from a run with a report after every step."""
    values: dict[str, list[float]] = {}
    for point in result.history.points:
        # The report of step 0 is that of the first step; step 1 has nothing left to report.
        if point.metric in ("train/distance", "train/loss", "train/task_loss"):
            values.setdefault(point.metric, []).append(point.value)
    return {name: np.array(found) for name, found in values.items()}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_every_step_of_a_run_tells_the_true_share(schedule):
    steps = steps_of(ran(schedule, 1))
    guided = np.arange(0, schedule.get("stop_step", STEPS), schedule.get("every", 1))
    distance, loss, task = (steps[f"train/{name}"] for name in ("distance", "loss", "task_loss"))
    assert (len(distance), len(loss), len(task)) == (len(guided), STEPS, STEPS)
    true = (1 - task / loss)[guided].mean()
    assert true > 0.02

    each = summary(ran(schedule, 1), schedule)
    assert each["alignment_share"] == pytest.approx(true)
    assert each[["distance_start", "distance_end"]].tolist() == pytest.approx(distance[[0, -1]])

    # In windows: the first step, then steps up to each report; the task loss is the window's.
    found = summary(ran(schedule, WINDOW), schedule)
    windows = np.split(np.arange(STEPS), [1, WINDOW, 2 * WINDOW])
    last = [window for window in windows if np.isin(guided, window).any()][-1]
    assert found["distance_start"] == pytest.approx(distance[0])
    assert found["distance_end"] == pytest.approx(distance[np.isin(guided, last)].mean())
    shares = []
    for window in windows:
        inside = np.intersect1d(window, guided)
        alignment = (loss - task)[inside].mean() if len(inside) else 0
        shares += [alignment / (alignment + task[window].mean())] * len(inside)
    assert found["alignment_share"] == pytest.approx(np.mean(shares))
    assert found["alignment_share"] == pytest.approx(true, rel=0.1)


def test_guidance_before_training_has_distances_and_no_share():
    schedule = {"align_first": {"steps": 7}}
    result = ran(schedule, WINDOW)
    distances = [p.value for p in result.history.points if p.metric == "train/distance"]
    found = summary(result, schedule)
    assert (found["distance_start"], found["distance_end"]) == (distances[0], distances[-1])
    assert np.isnan(found["alignment_share"])


def test_an_interval_that_a_search_chose_is_not_known():
    schedule = {"every": 3}
    result = ran(schedule, WINDOW)
    rows = replicates_of(schedule).assign(schedule="every=tuned,alpha=1")
    found = guidance_summary(history_of(result), rows).loc["it"]
    assert found["distance_start"] > 0
    assert np.isnan(found["alignment_share"])


def test_an_unguided_run_has_none():
    train = {"steps": 2, "batch_size": 20}
    alone = {key: SMALL[key] for key in ("task", "target")} | {"train": train}
    result = trainers.train(alone, report=lambda _: None)
    assert summary(result, {}).isna().all()


def test_one_replicate_does_not_look_into_another():
    stop = {"alpha": 2.0, "stop_step": STOP}
    schedules = {"a": stop, "b": {}, "c": stop}
    parts = {name: history_of(ran(each, WINDOW)) for name, each in schedules.items()}
    joined = pd.concat(part.assign(replicate_id=name) for name, part in parts.items())
    replicates = pd.concat(
        replicates_of(schedules[name]).assign(replicate_id=name) for name in ("c", "a", "b")
    )
    found = guidance_summary(joined.sample(frac=1, random_state=0), replicates)
    for name, part in parts.items():
        alone = guidance_summary(part, replicates_of(schedules[name])).loc["it"]
        assert found.loc[name].tolist() == pytest.approx(alone.tolist(), nan_ok=True)
