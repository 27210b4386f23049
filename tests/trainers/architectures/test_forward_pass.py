"""Shapes and operations of networks, without values, or with them where a network needs some."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from tests.helpers.reduced import REDUCED
from trainers import architectures
from trainers.architectures import ARCHITECTURES, Network
from trainers.architectures.forward_pass import forward_pass
from trainers.architectures.taps import LOGITS, record
from trainers.tasks import InputSpec, OutputSpec

INPUTS = {
    "image": InputSpec(kind="image", shape=(3, 32, 16)),
    "signal": InputSpec(kind="signal", shape=(2, 40)),
    "tokens": InputSpec(kind="tokens", shape=(7,), vocabulary=11),
}
CLASSES = OutputSpec(num_classes=5)
CASES = [
    (name, kind)
    for name in ARCHITECTURES.names()
    for kind in ARCHITECTURES[name].info["inputs"]
    if "needs" not in ARCHITECTURES[name].info
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_networks_have_the_shapes_that_they_have_with_values(name: str, kind: str) -> None:
    output = OutputSpec(num_classes=5, per_position=kind == "tokens")
    component = ARCHITECTURES.component(name, **REDUCED.get(name, {}))
    found = forward_pass(component, INPUTS[kind], output).of_batch(3)
    network = architectures.build(component, INPUTS[kind], output).eval()
    inputs = torch.ones(3, *INPUTS[kind].shape)
    with torch.no_grad(), record(network, (*network.taps, LOGITS)) as outputs:
        network(inputs.long() if kind == "tokens" else inputs)
    assert found.taps == network.taps
    assert all(tensor.is_meta for tensor in found.outputs.values())
    assert {tap: tensor.shape for tap, tensor in found.outputs.items()} == {
        tap: tensor.shape for tap, tensor in outputs.items()
    }
    assert found.flops > 0


#: Ways to look at the values of a tensor, and a tensor that is always on the CPU.
READ: dict[str, Callable[[Tensor], Any]] = {
    "nothing": lambda tensor: None,
    "item": lambda tensor: tensor.sum().item(),
    "truth": lambda tensor: 1 if tensor.sum() > 0 else 0,
    "numpy": lambda tensor: tensor.detach().numpy(),
    "list": lambda tensor: tensor.tolist(),
    "mask": lambda tensor: tensor[tensor > 0],
    "attribute": lambda tensor: (None if tensor.is_meta else tensor).shape,  # type: ignore[union-attr]
    "mixed": lambda tensor: tensor + torch.from_numpy(np.ones(1, np.float32)),
}
IMAGES = InputSpec(kind="image", shape=(1, 12, 8))


class Reads(Network):
    """Looks at values when it is built, and when it runs."""

    taps = ("hidden",)

    def __init__(
        self, input: InputSpec, output: OutputSpec, *, built: str = "nothing", run: str = "nothing"
    ) -> None:
        super().__init__()
        READ[built](torch.rand(3))
        self.hidden, self.output = nn.Linear(96, 7), nn.Linear(7, output.num_classes)
        self.run = run

    def forward(self, images: Tensor) -> Tensor:
        READ[self.run](images)
        logits: Tensor = self.output(self.hidden(images.flatten(1)))
        return logits


@pytest.fixture
def _reads() -> Iterator[None]:
    architectures.register("reads", inputs=("image",))(Reads)
    yield
    ARCHITECTURES.forget("test_forward_pass")


@pytest.mark.usefixtures("_reads")
@pytest.mark.parametrize("when", ["built", "run"])
@pytest.mark.parametrize("how", [how for how in READ if how != "nothing"])
def test_a_network_that_needs_values_runs_on_the_cpu(how: str, when: str) -> None:
    plain = forward_pass(ARCHITECTURES.component("reads"), IMAGES, CLASSES)
    state = torch.get_rng_state()
    with pytest.warns(
        UserWarning, match=rf"architecture reads\({when}={how}\) needs values \(.+\)"
    ):
        found = forward_pass(ARCHITECTURES.component("reads", **{when: how}), IMAGES, CLASSES)
    assert torch.equal(torch.get_rng_state(), state)
    assert found.taps == plain.taps
    assert found.flops == plain.flops == 2 * 2 * (96 * 7 + 7 * 5)
    shapes = {tap: output.shape for tap, output in found.outputs.items()}
    assert shapes == {"hidden": (2, 7), LOGITS: (2, 5)}
    assert all(output.is_meta for output in found.outputs.values())


@pytest.mark.usefixtures("_reads")
def test_a_network_that_is_built_from_values_is_built_on_the_cpu() -> None:
    component = ARCHITECTURES.component("reads", built="item")
    with pytest.warns(UserWarning, match="item"):
        network = architectures.build_on_meta(component, IMAGES, CLASSES)
    assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}


@pytest.mark.usefixtures("_reads")
def test_a_parametrization_that_fails_without_values_runs_on_the_cpu() -> None:
    """PyTorch's message, of None and a tensor, does not name the device."""

    class Orthogonal(Reads):
        def __init__(self, input: InputSpec, output: OutputSpec) -> None:
            super().__init__(input, output)
            self.hidden = parametrizations.orthogonal(self.hidden)

    architectures.register("orthogonal", inputs=("image",))(Orthogonal)
    with pytest.warns(UserWarning, match=r"needs values \(unsupported operand .*NoneType"):
        found = forward_pass(ARCHITECTURES.component("orthogonal"), IMAGES, CLASSES)
    assert found.outputs["hidden"].shape == (2, 7)


@pytest.mark.usefixtures("_reads")
def test_what_does_not_fit_is_an_error_of_pytorch_without_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built = []
    monkeypatch.setitem(READ, "nothing", lambda tensor: built.append(tensor.device.type))
    with pytest.raises(RuntimeError, match="same reduction dim"):
        forward_pass(
            ARCHITECTURES.component("reads"), InputSpec(kind="image", shape=(1, 5, 5)), CLASSES
        )
    assert set(built) == {"meta"}


@pytest.mark.usefixtures("_reads")
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("when", ["built", "run"])
@pytest.mark.parametrize(
    ("mistake", "error"),
    [(lambda t: len(3), TypeError), (lambda t: t.no_such_method(), AttributeError)],
)
def test_a_mistake_is_told_as_on_the_cpu(
    mistake: Callable[[Tensor], Any],
    error: type[Exception],
    when: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(READ, "mask", mistake)
    with pytest.raises(error) as raised:
        forward_pass(ARCHITECTURES.component("reads", **{when: "mask"}), IMAGES, CLASSES)
    assert raised.value.__context__ is None
