"""Evaluation of a network: scores, tap health, and alignment with its guide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainers.architectures import Network, taps
from trainers.architectures.taps import Rows
from trainers.controls import FeatureSource
from trainers.measures.minibatch_cka import CKAAccumulator, feature_statistics
from trainers.runtime.devices import copied
from trainers.tasks import Split, Task
from trainers.tasks.batches import chunks, mask_of
from trainers.tasks.checks import check_scores, check_tally

#: Number of validation examples on which the health of taps is measured.
PROBE_EXAMPLES = 256
#: Number of test examples on which guide and target are compared, and of those per batch.
ALIGNMENT_EXAMPLES, ALIGNMENT_BATCH = 500, 250
#: Label of the measure: sums of unbiased HSIC over batches (Nguyen et al. 2020), which differ from
#: the estimate from all rows at once.
MEASURE = "linear_cka(unbiased=true,estimator=batches)"


class Evaluated(NamedTuple):
    """A network's scores on a split, and its predictions, of the labels' shape, on the CPU."""

    scores: dict[str, float]
    predictions: Tensor


@torch.inference_mode()
def evaluate(
    network: Network, task: Task, split: Split, device: torch.device, *, loaders: int = 0
) -> Evaluated:
    """Score a network on a whole split, in evaluation mode; `loaders` as in `chunks`."""
    network.eval()
    sums: Counter[str] = Counter()
    predictions = []
    parts = chunks(split.inputs, task.forward_batch, loaders=loaders)
    for inputs, labels in zip(parts, torch.split(split.labels, task.forward_batch), strict=True):
        answers = network(copied(inputs, device))
        # Not the answers themselves, on which `tally` may work in place.
        predictions.append(copied(task.predict(answers), torch.device("cpu")))
        sums.update(check_tally(task, task.tally(answers, copied(labels, device))))
    network.train()
    return Evaluated(check_scores(task, task.score(sums)), torch.cat(predictions))


def tap_health(network: Network, task: Task, device: torch.device) -> dict[str, float]:
    """Standard deviation and effective rank of every tap's features, on validation examples.

    Linear CKA is invariant to scale and mean: a network whose signal collapses may align without
    learning.
    """
    inputs = task.validation.inputs[: min(PROBE_EXAMPLES, task.forward_batch)]
    metrics: dict[str, float] = {}
    for tap, output in tap_outputs(network, inputs, device).items():
        std, rank = feature_statistics(as_rows(output, task, inputs))
        metrics |= {f"feature_std/{tap}": std, f"effective_rank/{tap}": rank}
    return metrics


def alignment(
    network: Network, source: FeatureSource, task: Task, device: torch.device
) -> list[dict[str, Any]]:
    """Similarity of every guide tap and target tap on test examples, one table row per pair.

    Unbiased linear CKA, accumulated over batches; rows of features are examples, or tokens in
    sequences. A shuffled guide is compared unshuffled, and a guide that gets noise in training gets
    the task's inputs here.
    """
    accumulator = _accumulate(network, source, task, task.test, device)
    similarity = accumulator.similarity().tolist()
    return [
        {
            "guide_tap": guide_tap,
            "target_tap": target_tap,
            "measure": MEASURE,
            "rows": natural_rows(task),
            "n": accumulator.num_rows,
            "similarity": similarity[i][j],
            "target_collapsed": accumulator.target_collapsed[target_tap],
            "guide_collapsed": accumulator.guide_collapsed[guide_tap],
        }
        for i, guide_tap in enumerate(accumulator.guide_taps)
        for j, target_tap in enumerate(accumulator.target_taps)
    ]


def similarities(
    network: Network, source: FeatureSource, task: Task, split: Split, device: torch.device
) -> Tensor:
    """Similarities (guide taps, target taps) as in `alignment`, on a split's first examples."""
    return _accumulate(network, source, task, split, device).similarity()


@torch.no_grad()
def _accumulate(
    network: Network, source: FeatureSource, task: Task, split: Split, device: torch.device
) -> CKAAccumulator:
    accumulator = CKAAccumulator()
    num_examples = min(ALIGNMENT_EXAMPLES, len(split.labels))
    # Parts differ in size by one at most: a small last part would have too few rows.
    count = -(-num_examples // min(ALIGNMENT_BATCH, task.forward_batch))
    for chosen in torch.arange(num_examples).tensor_split(count):
        place = slice(int(chosen[0]), int(chosen[-1]) + 1)
        part = split.inputs[place]
        target = tap_outputs(network, part, device)
        guide = source.evaluate(part.to(device), copied(split.labels[place], device))
        accumulator.update(
            {tap: as_rows(output, task, part) for tap, output in target.items()},
            {
                tap: as_rows(at_positions(output, task, part), task, part)
                for tap, output in guide.items()
            },
        )
    return accumulator


def at_positions(output: Tensor, task: Task, inputs: Tensor) -> Tensor:
    """An output that a sequence has but once, at each of its positions; others as they are."""
    if natural_rows(task) != "tokens" or output.dim() > 2:
        return output
    return output[:, None].expand(-1, inputs.shape[1], -1)


def natural_rows(task: Task) -> Rows:
    """Kind of the rows of features in analysis: tokens in sequences, else examples."""
    return "tokens" if task.input.kind == "tokens" else "examples"


def as_rows(output: Tensor, task: Task, inputs: Tensor) -> Tensor:
    """A tap's output (batch, ...) for `inputs` as features (n, p), without padding."""
    mask = mask_of(task, inputs)
    mask = None if mask is None else mask.to(output.device)
    return taps.to_rows(output, natural_rows(task), task.input.kind, mask)


@torch.inference_mode()
def tap_outputs(
    network: Network,
    inputs: Tensor,
    device: torch.device,
    names: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """Outputs (batch, ...) of the taps `names`, by default of all, in evaluation mode."""
    network.eval()
    with taps.record(network, network.taps if names is None else names) as outputs:
        network(copied(inputs, device))
    network.train()
    return dict(outputs)
