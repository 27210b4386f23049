"""Taps hold what their modules gave; networks of which that cannot be said are refused by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.helpers.registries import restored
from trainers import architectures
from trainers.architectures import Network, NetworkError, taps
from trainers.registry import Component
from trainers.tasks import InputSpec, OutputSpec

SIGNAL, CLASSES = InputSpec(kind="signal", shape=(1, 6)), OutputSpec(num_classes=3)
Forward = Callable[["Net", Tensor], Tensor]


class Net(Network):
    """Two layers; a test says how they are used."""

    def __init__(self, forward: Forward | None = None, names: Any = ("a", "b")) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.cell = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.relu, self.out = nn.ReLU(inplace=True), nn.Linear(6, 3)
        self.block = nn.Sequential(nn.Linear(6, 6), nn.ReLU())
        self.pair = Pair()
        self._forward = forward or plain
        self.taps = names

    def forward(self, inputs: Tensor) -> Tensor:
        return self._forward(self, inputs.flatten(1))


class Pair(nn.Module):
    """Gives a tuple, as recurrent layers do."""

    def forward(self, inputs: Tensor) -> tuple[Tensor, None]:
        return inputs * 2, None


def plain(net: Net, x: Tensor) -> Tensor:
    return net.out(net.b(net.a(x)))


def inplace_module(net: Net, x: Tensor) -> Tensor:
    return net.out(net.relu(net.b(net.relu(net.a(x)))))


def inplace_operator(net: Net, x: Tensor) -> Tensor:
    h = net.b(net.a(x).mul_(2.0))
    h += 1000.0
    return net.out(h)


def inplace_view(net: Net, x: Tensor) -> Tensor:
    h, g = net.a(x), net.b(x)
    h[:, 0] = 7.0
    g.view(-1)[0] = 7.0
    return net.out(h + g)


def nested(net: Net, x: Tensor) -> Tensor:
    h = net.block(x)
    h.add_(3.0)
    return net.out(h)


def of_a_tuple(net: Net, x: Tensor) -> Tensor:
    h, _ = net.pair(x)
    h.add_(3.0)
    return net.out(h)


CASES: dict[str, tuple[Forward, tuple[str, ...]]] = {
    "plain": (plain, ("a", "b")),
    "module": (inplace_module, ("a", "b")),
    "operator": (inplace_operator, ("a", "b")),
    "view": (inplace_view, ("a", "b")),
    "nested": (nested, ("block.0", "block.1", "block")),
    "tuple": (of_a_tuple, ("pair",)),
}


def own_outputs(net: Net, inputs: Tensor) -> dict[str, Tensor]:
    """What the modules of the taps give, copied at once."""
    found: dict[str, Tensor] = {}

    def keep(tap: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            found[tap] = (output[0] if isinstance(output, tuple) else output).detach().clone()

        return hook

    handles = [net.get_submodule(tap).register_forward_hook(keep(tap)) for tap in net.taps]
    net(inputs)
    for handle in handles:
        handle.remove()
    return found


@pytest.fixture(params=["training", "no_grad", "inference", "told"])
def recorded(request: pytest.FixtureRequest) -> Callable[[Net, Tensor], dict[str, Tensor]]:
    """Outputs of the second and later of three forward passes, in each way of recording."""

    def of(net: Net, inputs: Tensor) -> dict[str, Tensor]:
        told = taps.overwritten(net, net.taps, inputs[:2]) if request.param == "told" else None
        modes: dict[str, Any] = {"no_grad": torch.no_grad, "inference": torch.inference_mode}
        mode = modes.get(request.param, torch.enable_grad)
        passes = []
        with taps.record(net, net.taps, overwritten=told) as outputs:
            for _ in range(3):
                with mode():
                    net(inputs)
                passes.append({tap: output.detach().clone() for tap, output in outputs.items()})
        assert all(torch.equal(p[t], passes[0][t]) for p in passes for t in net.taps)
        return passes[-1]

    return of


@pytest.mark.parametrize("case", CASES)
def test_a_tap_is_what_its_module_gave(
    case: str, recorded: Callable[[Net, Tensor], dict[str, Tensor]]
) -> None:
    net, inputs = Net(*CASES[case]), torch.randn(5, 6)
    expected = own_outputs(net, inputs)
    found = recorded(net, inputs)
    for tap in net.taps:
        assert torch.equal(found[tap], expected[tap]), tap


def test_gradients_of_taps_that_are_overwritten() -> None:
    """Those of the module's output, as if nothing had happened to it."""
    net, inputs = Net(inplace_module), torch.randn(5, 6)
    weights = torch.randn(5, 6)
    with taps.record(net, net.taps) as outputs:
        for _ in range(2):
            net(inputs)
            (found,) = torch.autograd.grad((outputs["b"] * weights).sum(), net.b.weight)
    (expected,) = torch.autograd.grad(
        (net.b(torch.relu(net.a(inputs))) * weights).sum(), net.b.weight
    )
    torch.testing.assert_close(found, expected)


def test_outputs_that_stay_are_not_copied() -> None:
    net, seen = Net(), []
    net.a.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with taps.record(net, ["a"]) as outputs:
        for _ in range(2):
            net(torch.randn(2, 6))
            assert outputs["a"] is seen[-1]


def test_only_the_forward_passes_asked_for_are_recorded() -> None:
    def in_place(net: Net, x: Tensor) -> Tensor:
        return net.out(torch.relu_(net.a(x)))

    net, inputs = Net(in_place, ("a",)), torch.randn(2, 6)
    recorded = [False, True, False, True]
    asked = iter(recorded)
    with taps.record(net, ["a"], when=lambda: next(asked)) as outputs:
        for each in recorded:
            net(inputs)
            assert set(outputs) == ({"a"} if each else set())
            if each:
                assert torch.equal(outputs["a"], net.a(inputs))


def test_a_pass_that_is_not_recorded_may_leave_out_a_tap() -> None:
    net = Net(lambda net, x: net.out(net.a(x)), ("a", "b"))
    with taps.record(net, ["a", "b"], when=lambda: False) as outputs:
        net(torch.randn(2, 6))
    assert not outputs


def thrice(net: Net, x: Tensor) -> Tensor:
    for _ in range(3):
        x = net.cell(x)
    return net.out(x)


def test_calls_of_one_module_are_numbered() -> None:
    net, inputs = Net(thrice, ("cell:1", "cell:3")), torch.randn(2, 6)
    with taps.record(net, net.taps) as outputs:
        net(inputs)
    first = net.cell(inputs)
    assert torch.equal(outputs["cell:1"], first)
    assert torch.equal(outputs["cell:3"], net.cell(net.cell(first)))


@pytest.mark.parametrize(
    ("forward", "names", "message"),
    [
        (thrice, ("cell",), r"tap 'cell': its module runs more than once .*'cell:1', 'cell:2'"),
        (thrice, ("cell:4",), "tap 'cell:4': its module is not called .* so often"),
        (lambda net, x: net.out(net.a(x)), ("a", "b"), "tap 'b': its module is not called"),
        (lambda net, x: net.out(net.answers(x)["x"]), ("answers",), "'answers': .* gives a dict"),
    ],
)
def test_what_only_a_forward_pass_shows(forward: Any, names: Any, message: str) -> None:
    net = Net(forward, names)
    net.answers = Answers()
    with taps.record(net, names), pytest.raises(NetworkError, match=message):
        net(torch.randn(2, 6))


class Answers(nn.Module):
    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"x": inputs}


def test_changes_in_some_passes_only() -> None:
    def moody(net: Net, x: Tensor) -> Tensor:
        h = net.a(x)
        return net.out(h.add_(1.0) if len(x) > 2 else h)

    net = Net(moody, ("a",))
    with taps.record(net, ["a"]):
        net(torch.randn(2, 6))
        with pytest.raises(NetworkError, match="some forward passes only"):
            net(torch.randn(3, 6))


def test_activations_that_are_recomputed() -> None:
    """The backward pass runs the modules again: that is no second call."""

    def recomputed(net: Net, x: Tensor) -> Tensor:
        return net.out(checkpoint(lambda x: net.b(net.a(x)), x, use_reentrant=False))

    net, inputs = Net(recomputed), torch.randn(4, 6)
    with taps.record(net, net.taps) as outputs:
        net(inputs).sum().backward()
    assert torch.equal(outputs["a"], net.a(inputs))


class _Built(Net):
    def __init__(self, input: InputSpec, output: OutputSpec, *, kind: str = "good") -> None:
        given: dict[str, Any] = {
            "good": ["a", "b"],
            "numbered": ("cell:1", "cell:2"),
            "misspelt": ("a", "rellu"),
            "string": "a",
            "none": (),
            "numbers": (1, 2),
            "twice": ("a", "a"),
            "shared": ("a", "same"),
            "answer": ("a", "logits"),
            "lazy": ("a",),
        }
        super().__init__(names=given[kind])
        self.same = self.a
        self.logits = nn.Linear(6, 3)
        if kind == "lazy":
            self.b = nn.LazyLinear(6)
        if kind == "untapped":
            del self.taps


@pytest.fixture
def built() -> Iterator[Callable[[str], Network]]:
    with restored():
        architectures.register("of_a_test", inputs=("signal",))(_Built)
        yield lambda kind: architectures.build(
            Component("of_a_test", (("kind", kind),)), SIGNAL, CLASSES
        )


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("misspelt", "tap 'rellu': unknown submodule 'rellu'; did you mean 'relu'"),
        ("string", r"taps is 'a'; give a tuple of submodule names"),
        ("none", r"taps is \(\); give"),
        ("numbers", r"taps is \(1, 2\); give"),
        ("twice", "taps 'a' and 'a' are one module"),
        ("shared", "taps 'a' and 'same' are one module"),
        ("answer", "tap 'logits': the name stands for the network's answer"),
        ("lazy", "parameter 'b.weight' has no size before the first forward pass"),
    ],
)
def test_networks_that_are_refused(
    kind: str, message: str, built: Callable[[str], Network]
) -> None:
    with pytest.raises(NetworkError, match=f"architecture 'of_a_test': {message}"):
        built(kind)


def test_networks_that_are_taken(built: Callable[[str], Network]) -> None:
    assert built("good").taps == ("a", "b")
    assert built("numbered").taps == ("cell:1", "cell:2")


@pytest.mark.usefixtures("registries")
def test_a_factory_that_returns_no_network() -> None:
    architectures.register("of_a_test", inputs=("signal",))(lambda input, output: "a network")
    with pytest.raises(NetworkError, match="it returns a str, not a Network"):
        architectures.build(Component("of_a_test"), SIGNAL, CLASSES)
