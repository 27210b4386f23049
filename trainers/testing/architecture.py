"""The contract of architectures: answers, taps, weights and options, on the inputs of a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainers import architectures, tasks
from trainers.architectures import ARCHITECTURES, LOGITS, Network, taps
from trainers.architectures.forward_pass import forward_pass
from trainers.registry import Component
from trainers.tasks import TASKS, Task
from trainers.tasks.batches import noise, random_labels
from trainers.testing.contract import Contract, bad_values, component_of, refused, require

Named = str | Component | Callable[..., Any]


@dataclass(frozen=True)
class _OnTask:
    """An architecture, and the task that defines its inputs; no data is loaded."""

    component: Component
    task: Task

    @property
    def batch(self) -> int:
        """Number of examples; it differs from the length of the input, to tell the two apart."""
        return 5 if self.task.input.shape[0] == 4 else 4

    def build(self, seed: int = 0) -> Network:
        torch.manual_seed(seed)
        return architectures.build(self.component, self.task.input, self.task.output)

    def inputs(self) -> Tensor:
        return noise(self.task.input, self.batch, torch.Generator().manual_seed(1))

    def record(self, network: Network) -> dict[str, Tensor]:
        """Outputs of the taps, in the order in which they fire, and the logits."""
        reverse = tuple(reversed(network.taps))
        with taps.record(network, (*reverse, LOGITS)) as outputs:
            network(self.inputs())
        return dict(outputs)


CONTRACT: Contract[_OnTask] = Contract()
rule = CONTRACT.rule


def check_architecture(architecture: Named, task: Named, *, rule: str | None = None) -> None:
    """Raise ContractError where an architecture breaks a rule on the inputs of a task.

    Each is a registered name, its class or function, or a component with options; `rule` checks
    that one rule alone. Raises ValueError where the architecture does not take such inputs.
    """
    subject = _subject(architecture, task)
    label = f"architecture {ARCHITECTURES.label(subject.component)!r}"
    assert subject.task.component is not None
    label += f" on task {TASKS.label(subject.task.component)!r}"
    CONTRACT.check(label, subject, rule)


def architecture_rules(architecture: Named, task: Named) -> list[str]:
    """Names of the rules that `check_architecture` checks."""
    return CONTRACT.names(_subject(architecture, task))


def _subject(architecture: Named, task: Named) -> _OnTask:
    component = component_of(ARCHITECTURES, architecture)
    built = tasks.build(component_of(TASKS, task))
    architectures.check_input(component, built.input)
    return _OnTask(component, built)


@rule("lists show the first line of its docstring")
def says_what_it_is(subject: _OnTask) -> None:
    """It has a docstring."""
    require(ARCHITECTURES[subject.component.name].summary, "it has no docstring")


@rule("the task's loss and scores need a logit of every class, or every value")
def answers_as_specified(subject: _OnTask) -> None:
    """Answers have the shape of the task's output, and are finite numbers."""
    task, logits = subject.task, subject.build()(subject.inputs())
    lead = (subject.batch, task.input.shape[0]) if task.output.per_position else (subject.batch,)
    expected = (*lead, task.output.num_outputs)
    require(tuple(logits.shape) == expected, f"logits are {tuple(logits.shape)}, not {expected}")
    require(logits.is_floating_point(), f"logits are of type {logits.dtype}")
    require(logits.isfinite().all(), "logits are not finite")


@rule("what gets no gradient is stored and counted, but never learns")
def every_parameter_learns(subject: _OnTask) -> None:
    """The loss sends a finite gradient to each parameter that asks for one."""
    network = subject.build()
    labels = random_labels(subject.task, subject.batch, torch.Generator().manual_seed(0))
    subject.task.loss(network(subject.inputs()), labels).backward()  # type: ignore[no-untyped-call]
    learning = {name: p.grad for name, p in network.named_parameters() if p.requires_grad}
    require(learning, "it has no parameters that learn")
    without = [name for name, gradient in learning.items() if gradient is None]
    require(not without, f"no gradient reaches {', '.join(without)}")
    gradients = [gradient for gradient in learning.values() if gradient is not None]
    require(all(g.isfinite().all() for g in gradients), "gradients are not finite")
    require(any(g.any() for g in gradients), "all gradients are 0")


@rule("mappings pair taps by depth")
def taps_fire_in_order(subject: _OnTask) -> None:
    """Modules of taps run in the order in which taps are named."""
    network = subject.build()
    fired = tuple(tap for tap in subject.record(network) if tap != LOGITS)
    require(fired == network.taps, f"taps are {network.taps}, and fire as {fired}")


@rule("rows of features are examples, or positions of examples")
def taps_put_the_batch_first(subject: _OnTask) -> None:
    """A tap is (batch, ...), of tokens (batch, time, features), and finite."""
    time = subject.task.input.shape[0]
    for tap, output in subject.record(subject.build()).items():
        shape = tuple(output.shape)
        require(output.dim() >= 2 and len(output) == subject.batch, f"tap {tap!r} gives {shape}")
        if subject.task.input.kind == "tokens" and tap != LOGITS:
            of_tokens = output.dim() == 3 and output.shape[1] == time
            require(of_tokens, f"tap {tap!r} gives {shape}, not (batch, time, features)")
        require(output.isfinite().all(), f"tap {tap!r} is not finite")


@rule("what does not reach the answer is no part of what the network computes")
def taps_reach_the_answer(subject: _OnTask) -> None:
    """The logits depend on each tap."""
    outputs = subject.record(subject.build().eval())
    logits = outputs.pop(LOGITS).square().sum()
    for tap, output in outputs.items():
        (gradient,) = (
            torch.autograd.grad(logits, output, retain_graph=True, allow_unused=True)
            if output.requires_grad and logits.requires_grad
            else (None,)
        )
        require(gradient is not None, f"the answer does not depend on tap {tap!r}")


@rule("a replicate is repeated by its seed")
def weights_follow_from_the_seed(subject: _OnTask) -> None:
    """One seed of PyTorch's generator gives the same weights again, another others."""
    first, again, other = (subject.build(seed).state_dict() for seed in (0, 0, 1))
    changed = [name for name in first if not torch.equal(first[name], again[name])]
    require(not changed, f"one seed gives two weights of {', '.join(changed)}")
    differ = any(not torch.equal(first[name], other[name]) for name in first)
    require(differ, "two seeds give the same weights")


@rule("plans and costs are made of networks without values")
def shapes_need_no_values(subject: _OnTask) -> None:
    """On the meta device taps and logits have the shapes that they have with values."""
    task = subject.task
    drawn = architectures.build_on_meta(subject.component, task.input, task.output)
    devices = {parameter.device.type for parameter in drawn.parameters()}
    require(devices == {"meta"}, f"built on the meta device it has parameters on {devices}")
    found = forward_pass(subject.component, task.input, task.output).of_batch(subject.batch).outputs
    network = subject.build().eval()
    require(drawn.taps == network.taps, "its taps depend on values")
    for tap, output in subject.record(network).items():
        shapes = tuple(found[tap].shape), tuple(output.shape)
        require(shapes[0] == shapes[1], f"tap {tap!r} is {shapes[0]} there, {shapes[1]} here")


@rule("an example's result must not change with the batch in which it is evaluated")
def examples_are_independent(subject: _OnTask) -> None:
    """In evaluation an example alone gets the logits that it gets among others."""
    network, inputs = subject.build().eval(), subject.inputs()
    together, alone = network(inputs.clone())[1:2], network(inputs[1:2].clone())
    close = torch.allclose(together, alone, rtol=1e-4, atol=1e-5)
    require(close, f"logits of an example change by {(together - alone).abs().max():.2g}")


@rule("a guide is shared between replicates")
def evaluation_changes_nothing(subject: _OnTask) -> None:
    """In evaluation mode buffers stay what they are, and the same inputs get the same logits."""
    network, inputs = subject.build().eval(), subject.inputs()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first, second = network(inputs.clone()), network(inputs.clone())
    after = network.state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    require(not changed, f"evaluation changes {', '.join(changed)}")
    require(torch.equal(first, second), "the same inputs get other logits the second time")


@rule("interrupted runs go on from stored weights, and guides are loaded from them")
def weights_are_restored(subject: _OnTask) -> None:
    """The state consists of tensors, and another network with it gives the same logits."""
    network, other = subject.build(0).eval(), subject.build(1).eval()
    state = network.state_dict()
    odd = [name for name, value in state.items() if not isinstance(value, Tensor)]
    require(not odd, f"its state holds {', '.join(odd)}, which are no tensors")
    other.load_state_dict({name: value.clone() for name, value in state.items()})
    same = torch.equal(network(subject.inputs()), other(subject.inputs()))
    require(same, "with stored weights another network gives other logits")


@rule("a mistake in a spec is said when it is planned")
def bad_options_are_refused(subject: _OnTask) -> None:
    """Sizes below 0, and what is none of the choices, raise ValueError that names it."""
    name, task = subject.component.name, subject.task
    for option, bad in bad_values(ARCHITECTURES, name):
        options = subject.component.kwargs | {option: bad}

        def build(options: dict[str, Any] = options) -> None:
            component = ARCHITECTURES.component(name, **options)
            architectures.build(component, task.input, task.output)

        refused(build, option if isinstance(bad, str) else str(bad), f"{option}={bad!r}")
