"""A fixed sample of a task's training data, on which every network is scored at its end.

Beside the test metrics it says whether a network overfits or underfits.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from trainers.data.lazy import LazyInputs
from trainers.tasks import Split, Task

#: Prefix of the metrics on the sample, after the last step.
TRAIN_SAMPLE = "train_sample/"
#: Examples of a sample: so many, or a tenth of the test split if that is more. A whole test split
#: would be a noticeable part of a short training.
EXAMPLES = 1000

#: A seed that no run has, since those of runs are digests of their condition.
_SEED = int.from_bytes(hashlib.sha256(b"train sample").digest()[:8], "big") >> 1


def train_sample(task: Task) -> Split:
    """Training examples, not augmented: the same for every network and seed of a task.

    Where each seed draws its data, they are of the seed's own training split, for every network.
    They are `EXAMPLES` or a tenth of the test split, but no more than that has. A streamed task,
    which has no training split, draws them afresh from its training distribution, from a stream of
    their own: no run has trained on just these.
    """
    num_test = len(task.test.labels)
    count = min(num_test, max(EXAMPLES, num_test // 10))
    generator = torch.Generator().manual_seed(_SEED)
    if task.num_train is None:
        return task.sample(count, generator)
    chosen = torch.randperm(task.num_train, generator=generator)[:count]
    labels, lazy = task.train.labels[chosen], task.train.lazy
    if lazy is None:
        return Split(task.train.inputs[chosen], labels)
    return Split.of_lazy(_Chosen(lazy, chosen), labels)


class _Chosen(LazyInputs):
    """Some examples of lazy inputs."""

    def __init__(self, inputs: LazyInputs, chosen: Tensor) -> None:
        self._inputs, self._chosen = inputs, chosen.tolist()
        self.shape = torch.Size((len(chosen), *inputs.shape[1:]))

    @property
    def digest(self) -> str:
        """Digest of the inputs and of the choice."""
        content = f"{self._inputs.digest} {self._chosen}"
        return hashlib.sha256(content.encode()).hexdigest()

    def example(self, index: int) -> Tensor:
        """One input (*shape), not augmented."""
        return self._inputs.example(self._chosen[index])
