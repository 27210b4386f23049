"""The control `class_shuffled`: features of another example of the same class."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from trainers import controls, tasks
from trainers.controls import CONTROLS
from trainers.controls.class_shuffled import ClassShuffledSource
from trainers.errors import UserError
from trainers.tasks import IGNORE, TASKS

LABELS = torch.tensor([2, 0, 0, 1, 2, 2, IGNORE, 0, IGNORE, 2])


def order(seed: int) -> list[int]:
    source = ClassShuffledSource.__new__(ClassShuffledSource)
    return source.order(LABELS, torch.Generator().manual_seed(seed)).tolist()


def test_every_class_is_permuted_in_itself() -> None:
    for seed in range(20):
        found = order(seed)
        assert sorted(found) == list(range(len(LABELS)))
        assert torch.equal(LABELS[found], LABELS)
        # Without a label there is no other of the class.
        assert (found[6], found[8], found[3]) == (6, 8, 3)


def test_every_permutation_of_a_class_is_as_likely() -> None:
    counts = Counter(tuple(order(seed)[i] for i in (1, 2, 7)) for seed in range(3000))
    assert len(counts) == 6
    # Three standard deviations of 3000 / 6 are 61.
    assert all(abs(count - 500) < 70 for count in counts.values()), counts
    assert len({tuple(order(seed)[i] for i in (0, 4, 5, 9)) for seed in range(500)}) == 24


def test_labels_at_every_position_are_refused() -> None:
    control = controls.build(CONTROLS.component("class_shuffled"))
    control.check(tasks.build(TASKS.component("translated_digits")))
    with pytest.raises(UserError, match="needs one label an example, and the task labels every"):
        control.check(tasks.build(TASKS.component("copy_paste")))
