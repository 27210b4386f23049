"""Our vision architectures are torchvision's; models of torchvision and timm guide and learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import trainers
from tests.helpers.conditions import guidance_of
from trainers import architectures
from trainers.architectures import ARCHITECTURES, Network, taps
from trainers.architectures.library import paper_taps
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Guide
from trainers.conditions.training import TrainSettings
from trainers.distances import DISTANCES
from trainers.registry import UnknownNameError
from trainers.tasks import TASKS, Classification, InputSpec, OutputSpec, Split

pytestmark = pytest.mark.vision

IMAGENET = InputSpec(kind="image", shape=(3, 224, 224))
CLASSES = OutputSpec(num_classes=1000)
PARAMETERS = {"resnet18": 11_689_512, "resnet50": 25_557_032, "vit_b_16": 86_567_656}


@pytest.fixture(params=PARAMETERS)
def twins(request: pytest.FixtureRequest) -> tuple[str, Network, nn.Module]:
    """An architecture of ours and torchvision's, built at the same seed."""
    from torchvision import models

    torch.manual_seed(0)
    ours = architectures.build(ARCHITECTURES.component(request.param), IMAGENET, CLASSES)
    torch.manual_seed(0)
    return request.param, ours, models.get_model(request.param, weights=None)


def test_parameters_names_and_initial_weights(twins: tuple[str, Network, nn.Module]) -> None:
    name, ours, theirs = twins
    assert sum(p.numel() for p in ours.parameters()) == PARAMETERS[name]
    mine, its = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(its)
    assert [key for key in its if not torch.equal(mine[key], its[key])] == []


def test_the_same_function_with_weights_of_torchvision(
    twins: tuple[str, Network, nn.Module],
) -> None:
    name, ours, theirs = twins
    for value in theirs.state_dict().values():
        if value.is_floating_point():
            # What begins at zero or one shows nothing; variances stay above zero.
            value.add_(0.1 * torch.rand_like(value))
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, *IMAGENET.shape)
    modes = (False,) if name.startswith("vit") else (True, False)
    with torch.no_grad():
        for training in modes:
            logits = ours.train(training)(images)
            assert logits.std() > 0
            assert torch.equal(logits, theirs.train(training)(images))


def test_taps_are_those_of_the_papers_rule(twins: tuple[str, Network, nn.Module]) -> None:
    name, ours, theirs = twins
    found = paper_taps(theirs.to("meta"), torch.empty(3, *IMAGENET.shape, device="meta"))
    if name == "vit_b_16":
        # The rule would add the patches, norms, and both layers of each MLP.
        assert len(found) == 1 + 12 * 5 + 1
        assert [tap for tap in ours.taps if "mlp" not in tap] == [
            tap for tap in found if "self_attention" in tap
        ]
    else:
        assert ours.taps == found


def test_mixer_is_that_of_timm() -> None:
    from timm.models.mlp_mixer import MlpMixer

    torch.manual_seed(0)
    input = InputSpec(kind="image", shape=(3, 32, 32))
    ours = architectures.build(ARCHITECTURES.component("mixer"), input, OutputSpec(num_classes=10))
    theirs = MlpMixer(
        num_classes=10, img_size=32, patch_size=4, num_blocks=4, embed_dim=64, mlp_ratio=(0.5, 4.0)
    )
    for value in theirs.state_dict().values():
        value.add_(0.1 * torch.rand_like(value))
    weights = zip(ours.state_dict(), theirs.state_dict().values(), strict=True)
    ours.load_state_dict(dict(weights))
    images = torch.randn(2, *input.shape)
    torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))


FOUND = [
    # Without batch norm an in-place ReLU would overwrite what convolutions put out.
    ("torchvision", "vgg11", (3, 64, 64)),
    # A second answer in training; read sizes of layers from values.
    ("torchvision", "googlenet", (3, 64, 64)),
    ("torchvision", "inception_v3", (3, 96, 96)),
    ("torchvision", "regnet_x_400mf", (3, 32, 32)),
    # Windows, positions; a fixed size.
    ("torchvision", "swin_t", (3, 64, 64)),
    ("timm", "resnet18", (1, 16, 16)),
    ("timm", "vit_tiny_patch16_224", (1, 32, 32)),
    ("timm", "swin_tiny_patch4_window7_224", (3, 64, 64)),
    ("timm", "efficientnet_b0", (2, 32, 32)),
    ("timm", "convnext_atto", (1, 32, 32)),
]


@pytest.mark.parametrize(("library", "model", "shape"), FOUND)
def test_models_by_name(library: str, model: str, shape: tuple[int, ...]) -> None:
    input, output = InputSpec(kind="image", shape=shape), OutputSpec(num_classes=7)
    component = ARCHITECTURES.component(library, model=model)
    drawn = architectures.build_on_meta(component, input, output)
    assert {parameter.device.type for parameter in drawn.parameters()} == {"meta"}
    torch.manual_seed(0)
    network = architectures.build(component, input, output)
    assert network.taps == drawn.taps
    assert len(network.taps) >= 8
    images = torch.randn(2, *shape)
    with taps.record(network.eval(), reversed(network.taps)) as outputs:
        logits = network(images)
    assert logits.shape == (2, 7)
    assert tuple(outputs) == network.taps
    assert all(len(output) == 2 and output.isfinite().all() for output in outputs.values())
    assert all((output < 0).any() for tap, output in outputs.items() if "features" in tap)
    assert network.train()(images).shape == (2, 7)
    torch.manual_seed(0)
    again = architectures.build(component, input, output).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in network.state_dict().items()
               if "num_batches" not in key and "running" not in key)  # fmt: skip


@pytest.mark.parametrize(
    ("library", "model", "shape", "words"),
    [
        ("torchvision", "resnet18", (1, 32, 32), "images of 3 channels.*have 1.*timm"),
        ("torchvision", "vit_b_16", (3, 32, 32), r"'vit_b_16'.*\(3, 32, 32\).*Expected 224"),
        ("torchvision", "alexnet", (3, 16, 16), r"'alexnet' does not take.*\(3, 16, 16\)"),
        ("timm", "vgg11", (1, 0, 8), r"'vgg11' does not take images of shape \(1, 0, 8\)"),
        ("timm", "resnet26d_", (3, 32, 32), "did you mean 'resnet26d'.*more"),
        ("torchvision", "resnet19", (3, 32, 32), "did you mean 'resnet1"),
        ("torchvision", "fcn_resnet50", (3, 32, 32), "unknown model of architecture torchvision"),
    ],
)
def test_what_does_not_suit_is_refused(
    library: str, model: str, shape: tuple[int, ...], words: str
) -> None:
    component = ARCHITECTURES.component(library, model=model)
    with pytest.raises(ValueError, match=words) as caught:
        architectures.build_on_meta(component, InputSpec(kind="image", shape=shape), CLASSES)
    assert isinstance(caught.value, UnknownNameError) is ("unknown" in str(caught.value))


class Colours(Classification):
    """Is the image brighter in its first or its second channel?"""

    def __init__(self) -> None:
        self.input = InputSpec(kind="image", shape=(3, 32, 32))
        self.output = OutputSpec(num_classes=2)
        self.num_train = 24

    def load(self) -> Mapping[str, Split]:
        return {name: self._draw(seed) for seed, name in enumerate(("train", "validation", "test"))}

    def _draw(self, seed: int) -> Split:
        images = torch.randn(24, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
        means: Tensor = images.mean((2, 3))
        return Split(images, (means[:, 1] > means[:, 0]).long())


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_a_found_model_guides_and_learns(library: str) -> None:
    TASKS.register("colours")(Colours)
    train: dict[str, Any] = {"steps": 2, "batch_size": 12, "report_every": 1}
    condition = Condition(
        task=TASKS.component("colours"),
        target=ARCHITECTURES.component(library, model="mobilenet_v3_small"
                                       if library == "torchvision" else "mobilenetv3_small_050"),
        train=TrainSettings(**train),
        treatment=guidance_of(
            guide=Guide(
                architecture=ARCHITECTURES.component(library),
                state="untrained",
                batch_norm="calibrated",
            ),
            distance=DISTANCES.component("linear_cka"),
        ),
    )  # fmt: skip
    result = trainers.train(condition, seed=0, report=lambda _: None)
    assert result.steps == 2
    distances = [p.value for p in result.history.points if p.metric == "train/distance"]
    assert len(distances) == 2
    assert all(0 < value < 60 for value in distances)


@pytest.mark.usefixtures("registries")
def test_taps_of_a_found_model_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    from study.cli import listing

    listing.show("taps", "{name: timm, model: resnet26}")
    assert "on translated_digits: conv1, layer1.0.conv1" in capsys.readouterr().out
    TASKS.register("colours")(Colours)
    listing.show("taps", "{name: torchvision, model: resnet50}")
    lines = capsys.readouterr().out.splitlines()
    taps_line = next(line for line in lines if line.startswith("on colours"))
    assert taps_line.count(",") == 53
    assert "have 1" in next(line for line in lines if line.startswith("on translated_digits: imp"))
