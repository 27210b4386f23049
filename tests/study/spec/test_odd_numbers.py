"""Numbers that no field was meant for: planned, or refused with the field; never anything else."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from study import Study
from study.spec.read import SpecError

GOOD: dict[str, Any] = {
    "name": "small",
    "task": {"name": "translated_digits", "places": 1},
    "targets": ["fcn"],
    "guides": ["resnet2d"],
    "controls": [],
    "train": {"epochs": 1},
}

_HUGE = [math.inf, -math.inf, 10**400, -(10**400), 10**30]
_ODD = [*_HUGE, math.nan, 2**63, -1, 0, 1.5, True, "1e400"]
_NUMERIC: dict[str, Callable[[Any], dict[str, Any]]] = {
    **{
        f"train.{key}": lambda value, key=key: {"train": {"steps": 4, key: value}}  # type: ignore[misc]
        for key in ("batch_size", "lr", "weight_decay", "grad_clip", "threads", "report_every",
                    "lr_step")
    },
    "train.steps": lambda value: {"train": {"steps": value}},
    "train.epochs": lambda value: {"train": {"epochs": value}},
    "guide_train.steps": lambda value: {"guide_train": {"steps": value}},
    "seeds": lambda value: {"seeds": value},
    "seeds.0": lambda value: {"seeds": [value]},
    **{
        f"schedule.{key}": lambda value, key=key: {"schedule": {key: value}}  # type: ignore[misc]
        for key in ("alpha", "stop_step", "warm_up", "every")
    },
    "align_first.steps": lambda value: {"schedule": {"align_first": {"steps": value}}},
    **{
        f"resources.{key}": lambda value, key=key: {"resources": {key: value}}  # type: ignore[misc]
        for key in ("workers", "cpus_per_worker", "gpus_per_worker", "replicates_per_trial",
                    "max_concurrent_trials")
    },
    "cache.max_gib": lambda value: {"cache": {"max_gib": value}},
    "targets.width": lambda value: {"targets": [{"name": "fcn", "width": value}]},
    "targets.depth": lambda value: {"targets": [{"name": "fcn", "depth": value}]},
    "targets.dropout": lambda value: {"targets": [{"name": "fcn", "dropout": value}]},
    "task.places": lambda value: {"task": {"name": "translated_digits", "places": value}},
    "mapping.k": lambda value: {"mapping": {"name": "last", "k": value}},
    "mapping.sharpness": lambda value: {"mapping": {"name": "all_pairs", "sharpness": value}},
    "distances.temperature": lambda value: {
        "distances": [{"name": "distillation", "temperature": value}]
    },
}  # fmt: skip


@pytest.mark.parametrize("field", _NUMERIC)
def test_odd_numbers_are_planned_or_refused_in_words(field: str) -> None:
    refused = []
    for value in _ODD:
        changes = {"train": {"steps": 4}, "seeds": 1} | _NUMERIC[field](value)
        try:
            Study(**GOOD | changes).plan()
        except ValueError as error:
            refused.append(value)
            said = str(error)
            if len(said) > 1000 or not any(part in said for part in field.split(".")):
                pytest.fail(f"{value!r:.80}: {said:.1000}")
    assert [value for value in _HUGE if value not in refused] == []


@pytest.mark.processes
@pytest.mark.parametrize(
    ("target", "words"),
    [
        (
            {"name": "fcn", "width": 10**11},
            "fcn(width=100000000000): 25,600,000,000,000 parameters",
        ),
        ({"name": "fcn", "width": 10**18}, "more parameters than can be counted"),
        ({"name": "fcn", "depth": 10**9, "width": 1}, "give fewer layers"),
    ],
)
def test_networks_that_no_machine_holds_are_refused(target: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        Study(**GOOD | {"targets": [target]}).plan()
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_threads_name_their_range() -> None:
    with pytest.raises(SpecError, match=r"train\.threads: .* 1024 \(got 100000\)"):
        Study(**GOOD | {"train": {"steps": 4, "threads": 100_000}})
    assert len(Study(**GOOD | {"train": {"steps": 4, "threads": 1024}}).plan()) > 0
