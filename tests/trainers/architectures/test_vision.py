"""Vision architectures against the paper: sizes, taps, twins without skips, refusals."""

from __future__ import annotations

import gc
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainers import architectures
from trainers.architectures import ARCHITECTURES, Network, taps
from trainers.architectures.forward_pass import forward_pass
from trainers.architectures.library import paper_taps
from trainers.parallel.batch_norm import global_batch_norm
from trainers.registry import UnknownNameError, format_value
from trainers.tasks import InputSpec, OutputSpec

IMAGENET = InputSpec(kind="image", shape=(3, 224, 224))
SMALL = InputSpec(kind="image", shape=(1, 16, 16))
SIGNAL = InputSpec(kind="signal", shape=(1, 40))
CLASSES = OutputSpec(num_classes=1000)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)

#: Parameters at ImageNet's size, counted by hand: (inputs + 1) x outputs of a linear layer, two a
#: feature of a batch norm, no biases of convolutions. Those of residual nets are published.
PARAMETERS = {
    # 150528 x 2048 + 2048 x 1024 + 46 x 1024^2 + 1024 x 1000, 3 x (2048 + 47 x 1024), 1000
    "deep_fcn": 359_788_520,
    # 150528 x 8192 + 2 x 8192^2 + 8192 x 1000, 3 x 3 x 8192, 1000
    "wide_fcn": 1_375_609_832,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    # less 64 x 128 + 128 x 256 + 256 x 512 of projections, and 2 x (128 + 256 + 512) of their norms
    "plain_resnet18": 11_515_688,
    # less 64 x 256 + 256 x 512 + 512 x 1024 + 1024 x 2048, and 2 x (256 + 512 + 1024 + 2048)
    "plain_resnet50": 22_780_456,
    "vit_b_16": 86_567_656,
}


def build_on_meta(name: str, input: InputSpec = IMAGENET, **options: Any) -> Network:
    component = ARCHITECTURES.component(name, **options)
    return architectures.build_on_meta(component, input, CLASSES)


def build(name: str, input: InputSpec = SMALL, **options: Any) -> Network:
    torch.manual_seed(0)
    component = ARCHITECTURES.component(name, **options)
    return architectures.build(component, input, OutputSpec(num_classes=10))


def tap_shapes(
    name: str, input: InputSpec = IMAGENET, **options: Any
) -> dict[str, tuple[int, ...]]:
    found = forward_pass(ARCHITECTURES.component(name, **options), input, CLASSES)
    return {tap: tuple(found.outputs[tap].shape[1:]) for tap in found.taps}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name: str) -> None:
    assert sum(p.numel() for p in build_on_meta(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize(
    ("name", "widths", "dropout"),
    [("deep_fcn", [2048, *[1024] * 47], 0.1), ("wide_fcn", [8192] * 3, 0.0)],
)
def test_fully_connected_networks_of_the_paper(
    name: str, widths: list[int], dropout: float
) -> None:
    network = build_on_meta(name)
    layers = list(network.get_submodule("hidden").children())
    assert [[type(part) for part in layer.children()] for layer in layers] == [
        [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Dropout]
    ] * len(widths)
    linears = [module for module in network.modules() if isinstance(module, nn.Linear)]
    assert [(linear.in_features, linear.out_features) for linear in linears] == [
        *zip([3 * 224 * 224, *widths[:-1]], widths, strict=True),
        (widths[-1], 1000),
    ]
    assert {m.p for m in network.modules() if isinstance(m, nn.Dropout)} == {dropout}
    # Outputs of all linear layers but the last, before batch norm and ReLU.
    assert [network.get_submodule(tap) for tap in network.taps] == linears[:-1]


def test_taps_of_a_deep_fcn_are_before_batch_norm_and_relu() -> None:
    network = build("deep_fcn", depth=2, first_width=8, width=8, dropout=0.5)
    images = torch.randn(4, *SMALL.shape)
    with taps.record(network, network.taps) as outputs:
        network(images)
    first = network.get_submodule("hidden.layer1.linear")
    torch.testing.assert_close(outputs["hidden.layer1.linear"], first(images.flatten(1)))


@pytest.mark.parametrize(
    ("name", "blocks", "convolutions", "projections"),
    [
        ("resnet18", (2, 2, 2, 2), 2, 3),
        ("plain_resnet18", (2, 2, 2, 2), 2, 0),
        ("resnet50", (3, 4, 6, 3), 3, 4),
        ("plain_resnet50", (3, 4, 6, 3), 3, 0),
    ],
)
def test_taps_of_resnets(
    name: str, blocks: tuple[int, ...], convolutions: int, projections: int
) -> None:
    network = build_on_meta(name)
    # ResNet-18 has 1 + 16 + 3 + 1 = 21, ResNet-50 1 + 48 + 4 + 1 = 54; the linear layer is dropped.
    assert len(network.taps) == 1 + convolutions * sum(blocks) + projections + 1
    assert sum("downsample" in tap for tap in network.taps) == projections
    shapes = tap_shapes(name)
    assert shapes["conv1"] == (64, 112, 112)
    wide = 1 if convolutions == 2 else 4
    for stage, number in enumerate(blocks):
        place, planes = 56 // 2**stage, 64 * 2**stage
        last = f"layer{stage + 1}.{number - 1}.conv{convolutions}"
        assert shapes[last] == (planes * wide, place, place)
    assert shapes["avgpool"] == (512 * wide, 1, 1)


def test_taps_of_a_block_are_its_convolutions_then_its_projection() -> None:
    network = build_on_meta("resnet50")
    inside = [tap for tap in network.taps if tap.startswith("layer2.0")]
    assert inside == [f"layer2.0.{part}" for part in ("conv1", "conv2", "conv3", "downsample.0")]


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "plain_resnet18", "plain_resnet50"])
def test_taps_of_resnets_are_those_of_the_papers_rule(name: str) -> None:
    network = build(name, width=2)
    assert network.taps == paper_taps(network, torch.randn(2, *SMALL.shape))


def test_stems_and_widths_of_resnets() -> None:
    input = InputSpec(kind="image", shape=(1, 32, 32))
    shapes = tap_shapes("resnet18", input, width=16, stem="small")
    assert shapes["conv1"] == (16, 32, 32)
    assert shapes["layer1.0.conv1"] == (16, 32, 32)
    assert shapes["layer4.1.conv2"] == (128, 4, 4)
    shapes = tap_shapes("resnet18", input, width=16)
    assert shapes["conv1"] == (16, 16, 16)
    assert shapes["layer1.0.conv1"] == (16, 8, 8)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnets_are_initialised_as_published(name: str) -> None:
    network = build(name)
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 10_000:
            fan_out = module.weight[:, 0].numel()
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.03)
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()


PLAIN = {
    "plain_resnet18": ("resnet18", SMALL, {"width": 2}),
    "plain_resnet50": ("resnet50", SMALL, {"width": 2}),
    "plain_convnet1d": ("resnet1d", SIGNAL, {"blocks": 4}),
    "plain_convnet2d": ("resnet2d", SMALL, {"blocks": 4}),
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_network_is_its_residual_twin_without_skips(name: str) -> None:
    twin, input, options = PLAIN[name]
    plain, residual = build(name, input, **options), build(twin, input, **options)
    mine, its = plain.state_dict(), residual.state_dict()
    skips = {key for key in its if "downsample" in key or "skip" in key}
    assert skips
    assert mine.keys() == its.keys() - skips
    # The same seed, the same weights.
    assert all(torch.equal(mine[key], its[key]) for key in mine)
    assert plain.taps == tuple(tap for tap in residual.taps if "downsample" not in tap)
    inputs = torch.randn(4, *input.shape)
    assert not torch.equal(plain.eval()(inputs), residual.eval()(inputs))


@pytest.mark.parametrize("name", PLAIN)
def test_nothing_passes_a_plain_block_but_its_layers(name: str) -> None:
    twin, input, options = PLAIN[name]
    for architecture, passes in ((name, False), (twin, True)):
        network = build(architecture, input, **options).eval()
        norms = [
            module for key, module in network.named_modules()
            if isinstance(module, NORMS) and "skip" not in key and "downsample" not in key
        ]  # fmt: skip
        for norm in norms[1:]:
            nn.init.zeros_(norm.weight)
        first, second = (network(torch.randn(1, *input.shape)) for _ in range(2))
        assert torch.equal(first, second) is not passes


def test_the_38_layer_convnet_of_signals_and_its_twin() -> None:
    for name in ("resnet1d", "plain_convnet1d"):
        network = build(name, SIGNAL, width=2, blocks=18)
        layers = [
            key for key, module in network.named_modules()
            if isinstance(module, nn.Conv1d | nn.Linear) and "skip" not in key
        ]  # fmt: skip
        assert len(layers) == 38
        assert network(torch.randn(2, *SIGNAL.shape)).isfinite().all()


def test_taps_of_vision_transformers() -> None:
    assert tap_shapes("vit", SMALL) == {
        f"encoder.layers.encoder_layer_{index}": (17, 64) for index in range(4)
    }
    assert tap_shapes("vit_b_16") == {
        f"encoder.layers.encoder_layer_{index}.{part}": (197, 768)
        for index in range(12)
        for part in ("self_attention", "mlp")
    }


def test_a_vision_transformer_sees_all_patches_and_their_places() -> None:
    network = build("vit").eval()
    nn.init.normal_(network.get_parameter("heads.head.weight"))
    images = torch.randn(1, *SMALL.shape)
    images.requires_grad_()
    (gradient,) = torch.autograd.grad(network(images)[0, 0], images)
    assert (gradient != 0).all()
    swapped = torch.cat([images[..., 4:8], images[..., :4], images[..., 8:]], dim=-1)
    assert not torch.allclose(network(images), network(swapped), atol=1e-3)


def test_a_mixer_sees_all_patches() -> None:
    network = build("mixer").eval()
    images = torch.randn(1, *SMALL.shape, requires_grad=True)
    with taps.record(network, ["blocks.block1"]) as outputs:
        network(images)
    (gradient,) = torch.autograd.grad(outputs["blocks.block1"][0, 0].square().sum(), images)
    assert (gradient != 0).all()
    assert tap_shapes("mixer", SMALL) == {
        f"blocks.block{index + 1}": (16, 64) for index in range(4)
    }


@pytest.mark.parametrize("name", ["vit", "vit_b_16", "mixer"])
def test_images_that_cannot_be_cut_are_refused(name: str) -> None:
    words = f"architecture {name}: patch is 5.*16 x 16 pixels; allowed: a patch that divides both"
    with pytest.raises(ValueError, match=words):
        build_on_meta(name, SMALL, patch=5)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match=r"width 64, heads 3.*width a multiple of heads"):
        build_on_meta("vit", SMALL, heads=3)


class Several(nn.Module):
    """Modules of many kinds; one is called twice, one never, and one has no row per example."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(2, 2)
        self.table = nn.Linear(2, 2)
        self.convolution = nn.Conv1d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm1d(4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.recurrent = nn.LSTM(4, 4, batch_first=True)
        self.inner = nn.Sequential(nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 4))
        self.decoder = nn.TransformerDecoderLayer(4, 2, 4, batch_first=True)
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.output = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        self.table(torch.zeros(7, 2, device=inputs.device))
        features = self.norm(self.convolution(inputs)).transpose(1, 2)
        features, _ = self.attention(features, features, features, need_weights=False)
        features = self.inner(self.inner(self.recurrent(features)[0]))
        features = self.decoder(features, features)
        logits: Tensor = self.output(self.pool(features.transpose(1, 2)).flatten(1))
        return logits


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_papers_rule(device: str) -> None:
    module, inputs = Several().to(device), torch.zeros(3, 1, 5, device=device)
    found, alive = paper_taps(module, inputs), weakref.ref(inputs)
    inside = [tap for tap in found if tap.startswith("decoder.")]
    assert [tap for tap in found if tap not in inside] == [
        "convolution", "attention", "recurrent", "inner.0", "inner.2", "decoder", "pool",
    ]  # fmt: skip
    # A module that holds others is called when it returns.
    assert inside[0] == "decoder.self_attn"
    assert found.index(inside[-1]) < found.index("decoder")
    # A hook that is left behind holds the inputs.
    del inputs
    gc.collect()
    assert alive() is None


def test_the_papers_rule_needs_two_modules() -> None:
    with pytest.raises(ValueError, match="no taps in Sequential"):
        paper_taps(nn.Sequential(nn.Linear(2, 2)), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="no taps in Linear"):
        paper_taps(nn.Linear(2, 2), torch.zeros(3, 2))


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_a_missing_library_is_said_when_it_is_needed(
    monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"{library}.models", raising=False)
    component = ARCHITECTURES.component(library, model="resnet18")
    with pytest.raises(ValueError, match=rf"{library}.*pip install 'archprior\[vision\]'"):
        architectures.build(component, IMAGENET, CLASSES)


class ActivatedNorm(nn.BatchNorm2d):
    """Batch norm with its activation in the same module, as timm has it."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs).relu()


def test_batch_norms_that_do_more_are_not_joined_over_workers() -> None:
    for norm in (nn.BatchNorm1d(2), nn.BatchNorm2d(2), nn.BatchNorm3d(2)):
        with global_batch_norm(norm):
            assert "forward" in vars(norm)
    network = nn.Sequential(nn.BatchNorm2d(2), ActivatedNorm(2))
    with pytest.raises(ValueError, match=r"ActivatedNorm.*workers: 1"), global_batch_norm(network):
        pass
    assert "forward" not in vars(network[0])


@pytest.mark.parametrize(
    "name",
    [n for n in ARCHITECTURES.names() if "tokens" not in ARCHITECTURES[n].info["inputs"]],
)
def test_the_page_of_architectures_has_every_one(name: str) -> None:
    page = Path(__file__).parents[3] / "docs" / "architectures.md"
    (row,) = [line for line in page.read_text().splitlines() if line.startswith(f"| `{name}` |")]
    defaults = ARCHITECTURES[name].defaults.items()
    options = [f"`{key}={format_value(value)}`" for key, value in defaults]
    assert row.split(" | ")[3] == ", ".join(options)


def test_of_many_names_an_error_lists_those_alike() -> None:
    known = [f"resnet{number}" for number in range(1000)]
    message = str(UnknownNameError("model", "resnot18", known))
    assert "did you mean 'resnet18'?" in message
    assert "and 990 more" in message
    assert len(message) < 300
