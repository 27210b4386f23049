"""What stands in padded positions changes nothing that is measured or trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainers import architectures, tasks
from trainers.architectures import ARCHITECTURES, Network, taps
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Guide, Term
from trainers.conditions.training import TrainSettings
from trainers.controls.input import InputSource
from trainers.distances import DISTANCES
from trainers.mappings import Pair
from trainers.tasks import IGNORE, TASKS, Task
from trainers.tasks.batches import Batch, noise
from trainers.training import evaluation
from trainers.training.term_loss import TermLoss
from trainers.training.train import train

CPU = torch.device("cpu")
ROWS = ["examples", "pooled", "tokens", "positions"]


@pytest.fixture(params=["copy_paste", "parity"])
def task(request: pytest.FixtureRequest) -> Task:
    options: dict[str, Any] = {"length": 2, "symbols": 3} if request.param == "copy_paste" else {}
    return tasks.build(TASKS.component(request.param, max_length=6, **options))


def network_of(task: Task) -> Network:
    torch.manual_seed(0)
    component = ARCHITECTURES.component("rnn", depth=2, width=8, embedding=4)
    return architectures.build(component, task.input, task.output)


@contextmanager
def disturbed(network: Network, task: Task) -> Iterator[None]:
    """Inside, every tap gives something else where its input is padding, and nothing else does."""
    masks: list[Tensor] = []

    def look(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        mask = task.mask(inputs[0])
        assert mask is not None
        assert not mask.all()
        masks[:] = [mask]

    def disturb(_module: nn.Module, _inputs: Any, output: tuple[Tensor, Tensor]) -> Any:
        return output[0].masked_fill(~masks[0][..., None], 1e3), output[1]

    hooks = [network.register_forward_pre_hook(look)]
    hooks += [network.get_submodule(tap).register_forward_hook(disturb) for tap in network.taps]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def both(task: Task, measure: Callable[[Network], Any]) -> tuple[Any, Any]:
    """A measure of a network, and of one that is disturbed at its last tap's padding."""
    network = network_of(task)
    plain = measure(network)
    with disturbed(network, task):
        return plain, measure(network)


def test_the_disturbance_is_one(task: Task) -> None:
    inputs = task.validation.inputs[:50]
    plain, other = both(task, lambda n: evaluation.tap_outputs(n, inputs, CPU))
    mask = task.mask(inputs)
    assert mask is not None
    for tap, output in plain.items():
        assert torch.equal(output[mask], other[tap][mask])
        assert (other[tap][~mask] > 100).all()


def test_scores(task: Task) -> None:
    plain, other = both(task, lambda n: evaluation.evaluate(n, task, task.validation, CPU).scores)
    assert plain == other


def test_health_of_taps(task: Task) -> None:
    plain, other = both(task, lambda n: evaluation.tap_health(n, task, CPU))
    assert plain == other


def test_alignment(task: Task) -> None:
    source = InputSource(("input",), task.input)
    plain, other = both(task, lambda n: evaluation.alignment(n, source, task, CPU))
    assert plain == other
    mask = task.mask(task.test.inputs[: evaluation.ALIGNMENT_EXAMPLES])
    assert mask is not None
    assert {row["n"] for row in plain} == {int(mask.sum())}


@pytest.mark.parametrize("rows", ROWS)
def test_distance_and_its_gradient(task: Task, rows: Any) -> None:
    term = Term(
        guide=Guide(
            architecture=ARCHITECTURES.component("transformer"),
            state="untrained",
            batch_norm="calibrated",
        ),
        distance=DISTANCES.component("linear_cka"),
        rows=rows,
    )
    source = InputSource(("input",), task.input)
    split = task.validation
    batch = Batch(split.inputs[:40], split.labels[:40], None)

    def measure(network: Network) -> list[Tensor]:
        network.zero_grad(set_to_none=True)
        pairs = [Pair(tap, "input") for tap in network.taps]
        loss = TermLoss(term, source, pairs, task)
        with taps.record(network, network.taps) as outputs:
            network(batch.inputs)
        distance, each = loss(outputs, batch, 0)
        distance.backward()  # type: ignore[no-untyped-call]
        first = network.get_parameter("layers.layer2.weight_ih_l0").grad
        assert first is not None
        return [each, first]

    # The second layer reads what the first gave, and so only the second tap is disturbed.
    plain = measure(network := network_of(task))
    tap = network.taps[-1]

    def disturb(_module: nn.Module, _inputs: Any, output: tuple[Tensor, Tensor]) -> Any:
        mask = task.mask(batch.inputs)
        assert mask is not None
        return output[0].masked_fill(~mask[..., None], 1e3), output[1]

    network.get_submodule(tap).register_forward_hook(disturb)
    other = measure(network)
    for mine, its in zip(plain, other, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-6)


def test_loss_counts_answers_alone() -> None:
    task = tasks.build(TASKS.component("copy_paste", length=2, symbols=3, max_length=6))
    labels = task.validation.labels
    logits = torch.randn(*labels.shape, 4, generator=torch.Generator().manual_seed(0))
    other = logits.masked_fill((labels == IGNORE)[..., None], -5.0)
    other[..., 0] += 9.0 * (labels == IGNORE)
    assert torch.equal(task.loss(logits, labels), task.loss(other, labels))
    assert task.tally(logits, labels) == task.tally(other, labels)


def test_noise_is_no_padding(task: Task) -> None:
    drawn = noise(task.input, 500, torch.Generator().manual_seed(0))
    assert task.input.vocabulary is not None
    expected = set(range(task.input.vocabulary)) - {task.input.padding}
    assert set(drawn.unique().tolist()) == expected


@pytest.mark.processes
@pytest.mark.parametrize("name", ["gru", "transformer_decoder"])
def test_copying_several_lengths_is_learnt(name: str) -> None:
    # A decoder's first layer finds out how long the sequence is.
    options = {"depth": 2, "feed_forward": 32} if name == "transformer_decoder" else {"depth": 1}
    condition = Condition(
        task=TASKS.component("copy_paste", length=1, symbols=3, max_length=2),
        target=ARCHITECTURES.component(name, width=32, **options),
        train=TrainSettings(steps=120, batch_size=64, lr=5e-3),
    )
    assert train(condition, seed=0).metrics["accuracy"] > 0.95
