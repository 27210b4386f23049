"""Convolutions and mixers as dense matrices, and the rivals that use them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

import trainers
from tests.helpers.rivals import started, treated
from trainers import rivals, tasks
from trainers.architectures import ARCHITECTURES, build_on_meta
from trainers.conditions.condition import Condition
from trainers.errors import UserError
from trainers.messages import silent
from trainers.rivals import _dense
from trainers.training.loop import Run
from trainers.training.setup import RunSetup, constrained, initial

MakeCondition = Callable[..., Condition]
FIRST, SECOND = "hidden.layer1.0.weight", "hidden.layer2.0.weight"
#: Room for one channel at each of the 16 x 16 places of the input, and more.
WIDE = {"width": 300, "depth": 2, "norm": "none"}


@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "padding"),
    [((2, 7, 5), (3, 3), 1, 1), ((3, 8, 8), (4, 4), 4, 0), ((2, 9), (3,), 2, 1)],
)
def test_a_matrix_convolves(
    shape: tuple[int, ...], kernel: tuple[int, ...], stride: int, padding: int
) -> None:
    weight, inputs = torch.randn(4, shape[0], *kernel), torch.randn(6, *shape)
    matrix, found = _dense.as_matrix(weight, shape, stride=stride, padding=padding)
    convolve = functional.conv2d if len(shape) == 3 else functional.conv1d
    expected = convolve(inputs, weight, stride=stride, padding=padding)
    assert found == tuple(expected.shape[1:])
    torch.testing.assert_close(inputs.flatten(1) @ matrix.T, expected.flatten(1))


def of(make: MakeCondition, name: str, folder: Path, **options: Any) -> Condition:
    return treated(make, name, folder, options=options, target=WIDE)


def test_structured_begins_as_a_convolution(make: MakeCondition, tmp_path: Path) -> None:
    condition = of(make, "structured", tmp_path, channels=1, layers=2)
    weights, plain = started(condition), started(replace(condition, treatment=None))
    for name in (FIRST, SECOND):
        image = weights[name][:256, :256].view(16, 16, 16, 16)
        torch.testing.assert_close(image[5, 5, 4:7, 4:7], image[9, 3, 8:11, 2:5])
        assert image[5, 5].count_nonzero() == 9
        assert image[0, 0].count_nonzero() == 4
        # Units without a place keep their start.
        assert torch.equal(weights[name][256:], plain[name][256:])
    assert weights["hidden.layer1.0.bias"][:256].unique().numel() == 1
    assert weights[SECOND][:256, 256:].count_nonzero() == 0
    # At a stride of 4 there is room for 18 channels of 16 places.
    strided = started(of(make, "structured", tmp_path, channels=8))
    assert torch.equal(strided[SECOND], plain[SECOND])
    assert strided[FIRST][:288].count_nonzero() <= 288 * 9


def test_what_is_not_fully_connected_or_too_narrow_is_refused(
    make: MakeCondition, tmp_path: Path
) -> None:
    def check(condition: Condition) -> None:
        task = tasks.build(condition.task)
        assert condition.rival is not None
        network = build_on_meta(condition.target, task.input, task.output)
        rivals.check(condition.rival, network, task)

    structured = of(make, "structured", tmp_path)
    with pytest.raises(UserError, match=r"fully connected networks.*'stem.0' is a Conv2d"):
        check(replace(structured, target=ARCHITECTURES.component("resnet2d")))
    with pytest.raises(UserError, match="layers is 3; allowed here: 1 to 2"):
        check(of(make, "structured", tmp_path, layers=3))
    with pytest.raises(UserError, match="a layer of 300 units has no room for 301 channels"):
        check(of(make, "structured", tmp_path, channels=301))
    with pytest.raises(UserError, match="kernel is 3, which does not divide the input 16x16"):
        check(of(make, "interpolated", tmp_path, prior="mixer"))
    with pytest.raises(UserError, match="kernel is 2; allowed: odd numbers"):
        check(of(make, "interpolated", tmp_path, kernel=2))
    tokens = make("token")
    with pytest.raises(UserError, match="fully connected"):
        check(replace(tokens, treatment=structured.treatment))


@pytest.mark.parametrize(("prior", "kernel"), [("convolution", 5), ("mixer", 4)])
def test_interpolated_is_between_learned_and_fixed(
    prior: str, kernel: int, make: MakeCondition, tmp_path: Path
) -> None:
    condition = of(make, "interpolated", tmp_path, weight=0.25, prior=prior, kernel=kernel)
    setup = RunSetup.of(condition, 0)
    network = initial(setup)
    learned = {name: getattr(layer[0], "weight").detach().clone()  # noqa: B009
               for name, layer in network.hidden.items()}  # fmt: skip
    constraint = constrained(network, setup)
    assert constraint is not None
    for name, layer in network.hidden.items():
        linear = layer[0]
        fixed = linear.parametrizations.weight[0].fixed
        rows, columns = fixed.shape
        expected = learned[name].clone()
        expected[:rows] *= 0.75
        expected[:rows, :columns] += 0.25 * fixed
        torch.testing.assert_close(linear.weight, expected)
    before = {name: layer[0].weight.detach().clone() for name, layer in network.hidden.items()}
    constraint.release()
    for name, layer in network.hidden.items():
        assert torch.equal(layer[0].weight, before[name])


def test_a_mixer_mixes_patches_then_channels(make: MakeCondition, tmp_path: Path) -> None:
    condition = of(make, "interpolated", tmp_path, weight=1.0, decay="linear", prior="mixer",
                   kernel=4)  # fmt: skip
    setup = RunSetup.of(condition, 0)
    network = initial(setup)
    constrained(network, setup)
    # 16 patches of 4 x 4, and 18 channels in 300 units.
    second = network.hidden["layer2"][0].weight.detach()[:288, :288].view(18, 16, 18, 16)
    torch.testing.assert_close(second[0, :, 0], second[7, :, 7])
    assert second[0, :, 1].count_nonzero() == 0
    first = network.hidden["layer1"][0].weight.detach()[:288].view(18, 16, 16, 16)
    assert first[0, 0, :4, :4].count_nonzero() == 16
    assert first[0, 0].count_nonzero() == 16


def test_the_control_has_the_numbers_of_the_prior_elsewhere(
    make: MakeCondition, tmp_path: Path
) -> None:
    found = []
    for control in ("none", "permuted"):
        setup = RunSetup.of(treated(make, "interpolated", tmp_path, control=control), 0)
        network = initial(setup)
        constrained(network, setup)
        found.append(network.hidden["layer1"][0].parametrizations.weight[0].fixed)
    first, second = found
    assert not torch.equal(first, second)
    assert torch.equal(first.flatten().sort().values, second.flatten().sort().values)


def test_the_share_falls_to_zero(make: MakeCondition, tmp_path: Path) -> None:
    condition = of(make, "interpolated", tmp_path, weight=0.8, decay="cosine")
    run = Run(RunSetup.of(condition, 0), [], silent)
    assert run.constraint is not None
    shares = []
    for done in (0.0, 0.5, 1.0):
        run.constraint.at(done)
        shares.append(run.network.hidden["layer1"][0].parametrizations.weight[0].share.item())
    assert shares == pytest.approx([0.8, 0.4, 0.0])
    with pytest.raises(UserError, match="leaves nothing to learn"):
        trainers.train(of(make, "interpolated", tmp_path, weight=1.0), report=silent)
