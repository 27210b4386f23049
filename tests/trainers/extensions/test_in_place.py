"""What works in place on what it is given changes nothing that others see."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from tests.helpers.conditions import guidance_of
from tests.helpers.in_place import InPlaceNet, registered
from trainers import tasks
from trainers.architectures import ARCHITECTURES
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Guide
from trainers.conditions.training import TrainSettings
from trainers.distances import DISTANCES
from trainers.mappings import MAPPINGS
from trainers.registry import Component
from trainers.store.store import Store
from trainers.tasks import TASKS
from trainers.trial.trial import TrialContext, run_trial

TRAIN = TrainSettings(steps=5, batch_size=20, report_every=2)


def guided(
    target: str,
    guide: str,
    task: str,
    *,
    control: str = "none",
    trained: bool = False,
    distance: str = "linear_cka",
    mapping: str = "evenly_spaced",
    **options: Any,
) -> Condition:
    state = None if control == "input" else "trained" if trained else "untrained"
    shown = Guide(
        architecture=ARCHITECTURES.component(guide),
        state=state,
        batch_norm="calibrated" if state == "untrained" else None,
        train=TRAIN if trained else None,
    )
    guidance = guidance_of(
        guide=shown,
        control=control,  # type: ignore[arg-type]
        distance=DISTANCES.component(distance),
        mapping=MAPPINGS.component(mapping),
        **options,
    )
    return Condition(
        task=TASKS.component(task), target=ARCHITECTURES.component(target), train=TRAIN,
        treatment=guidance,
    )  # fmt: skip


def baseline(target: str, task: str, *, is_guide: bool = False) -> Condition:
    return Condition(
        task=TASKS.component(task),
        target=ARCHITECTURES.component(target),
        train=TRAIN,
        is_guide=is_guide,
    )


NET, TOKENS = "in_place_net", "in_place_tokens"
FIXED, AUGMENTED, PADDED = "in_place_task", "in_place_augmented", "in_place_padded"


def conditions() -> list[Condition]:
    """In the order in which a trial trains them: each follows one that works in place."""
    return [
        baseline(NET, FIXED),
        baseline("fcn", FIXED),
        baseline(NET, FIXED, is_guide=True),
        guided("fcn", NET, FIXED),
        guided(NET, "fcn", FIXED, control="input"),
        guided("fcn", NET, FIXED, control="shuffled"),
        guided("fcn", NET, FIXED, trained=True),
        guided("fcn", NET, FIXED, distance="distillation"),
        guided(NET, "fcn", FIXED, distance="in_place_distance", mapping="all_pairs"),
        guided("fcn", "fcn", FIXED, distance="hint"),
        baseline("fcn", AUGMENTED),
        guided(NET, NET, AUGMENTED, guide_inputs="other_augmentation"),
        guided("fcn", "fcn", AUGMENTED, control="input"),
        baseline(TOKENS, PADDED),
        guided(TOKENS, TOKENS, PADDED, rows="tokens", control="input"),
        guided("transformer", TOKENS, PADDED, rows="tokens"),
    ]


@pytest.fixture(scope="module", autouse=True)
def _entries() -> Iterator[None]:
    with registered():
        yield


@pytest.fixture
def forget() -> Iterator[Any]:
    def clear() -> None:
        tasks.clear_cache()

    yield clear
    clear()


def results(store: Path, condition: Condition) -> dict[str, Any]:
    replicate = Store(store).replicate_of(condition, 0)
    result = replicate.result()
    assert result is not None, replicate.failure()
    history = pd.read_parquet(store / "replicates" / replicate.id / "history.parquet")
    digests = {name: digest for name, (_, digest) in result.files.items()}
    del digests["history.parquet"]
    return {
        "files": digests,
        "metrics": result.metrics,
        "fingerprint": result.data_fingerprint,
        "history": history.drop(columns="timestamp").to_dict("records"),
    }


@pytest.mark.processes
def test_packed_together_they_are_as_each_alone(tmp_path: Path, forget: Any) -> None:
    quiet: Any = {"report": lambda _payload: None, "debug": True}
    forget()
    together = tmp_path / "together"
    run_trial([(each, 0) for each in conditions()], TrialContext(store=str(together), **quiet))
    for number, condition in enumerate(conditions()):
        forget()
        alone = tmp_path / f"alone{number}"
        todo = [(each, 0) for each in (*condition.guide_conditions, condition)]
        run_trial(todo, TrialContext(store=str(alone), **quiet))
        assert results(together, condition) == results(alone, condition), condition


def test_the_splits_stay_what_they_are(tmp_path: Path, forget: Any) -> None:
    forget()
    task = tasks.build(Component(FIXED))
    before = {name: [part.clone() for part in split] for name, split in task.splits.items()}
    chosen = [c for c in conditions() if c.task.name == FIXED]
    setting = TrialContext(store=str(tmp_path), report=lambda _payload: None, debug=True)
    run_trial([(each, 0) for each in chosen], setting)
    for name, split in task.splits.items():
        for part, old in zip(split, before[name], strict=True):
            assert torch.equal(part, old), name


def test_a_guide_may_keep_tables_for_its_next_pass() -> None:
    from trainers.guides.frozen import FrozenGuide

    class Remembers(InPlaceNet):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            self.register_buffer("table", torch.arange(len(inputs)), persistent=False)
            return super().forward(inputs)

    task = tasks.build(Component(FIXED))
    guide = FrozenGuide(Remembers(task.input, task.output), task, torch.device("cpu"))
    for size in (4, 5):
        assert set(guide.forward(task.train.inputs[:size])) == {"a", "b"}


def test_a_guide_that_changes_itself_is_refused() -> None:
    from trainers.architectures import NetworkError
    from trainers.guides.frozen import FrozenGuide

    class Counts(InPlaceNet):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            self.seen += len(inputs)
            return super().forward(inputs)

    task = tasks.build(Component(FIXED))
    guide = FrozenGuide(Counts(task.input, task.output), task, torch.device("cpu"))
    with pytest.raises(NetworkError, match="Counts: its forward pass changes its buffer 'seen'"):
        guide.forward(task.train.inputs[:4])
