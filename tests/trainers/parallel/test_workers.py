"""Several workers: a step of k processes is that of one on the whole batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.helpers.process_group import ProcessGroup
from tests.helpers.worker_steps import (
    Step,
    normalise_alone,
    normalise_together,
    step_alone,
    step_together,
)
from trainers import distances
from trainers.conditions.condition import Condition
from trainers.conditions.schedule import AlignFirst, Schedule
from trainers.distances import DISTANCES
from trainers.parallel.workers import ALONE

MakeCondition = Callable[..., Condition]


def distance(name: str, **options: Any) -> dict[str, Any]:
    return {"distance": DISTANCES.component(name, **options)}


ALIGN = {"schedule": Schedule(align_first=AlignFirst(steps=3))}
NOISE = {"schedule": Schedule(align_first=AlignFirst(steps=3, inputs="noise"))}
REDRAWN = {"schedule": Schedule(align_first=AlignFirst(steps=3, inputs="redrawn"))}
TOKENS = {"kind": "token", "control": "none"}
CASES: dict[str, dict[str, Any]] = {
    "baseline": {},
    "linear_cka": {"control": "none"},
    "linear_cka, uneven shards": {"control": "none", "batch_size": 23},
    "unbiased": {"control": "none", "guidance": distance("linear_cka", unbiased=True)},
    "ridge": {"control": "none", "guidance": distance("ridge")},
    "shuffled": {"control": "shuffled", "batch_size": 21},
    "input": {"control": "input", "state": None},
    "noise": {"control": "noise"},
    "guide with batch norm of the batch": {"control": "none", "batch_norm": "batch"},
    "clipped": {"control": "none", "grad_clip": 0.01},
    "balanced": {"control": "none", "guidance": {"schedule": Schedule(balanced=True)}},
    "align first": {"control": "none", "guidance": ALIGN},
    "align first on noise": {"control": "none", "guidance": NOISE, "batch_size": 22},
    "align first on other data": {"control": "none", "guidance": REDRAWN, "batch_size": 22},
    "tokens, baseline": {"kind": "token", "batch_size": 18},
    "tokens, examples": TOKENS | {"batch_size": 23},
    "tokens, tokens": TOKENS | {"guidance": {"rows": "tokens"}, "batch_size": 21},
    "tokens, positions": TOKENS | {"guidance": {"rows": "positions"}},
    "tokens, shuffled": {"kind": "token", "control": "shuffled"},
}


OF_FOUR = ["linear_cka, uneven shards", "shuffled", "tokens, tokens", "align first on noise"]


def check(mine: Step, its: Step, tolerance: float) -> None:
    for expected, found in zip(mine, its, strict=True):
        assert expected.keys() == found.keys()
        # That of a bias before batch norm is nothing but rounding.
        least = 0.1 * max((float(v.abs().max()) for v in expected.values()), default=0.0)
        for name, value in expected.items():
            difference = float((value - found[name]).abs().max())
            assert difference <= tolerance * max(float(value.abs().max()), least), name


@pytest.mark.parametrize(
    ("case", "size"), [*((case, 2) for case in CASES), *((case, 4) for case in OF_FOUR)]
)
def test_a_step_of_several_is_the_step_of_one(
    case: str, size: int, make: MakeCondition, groups: Callable[[int], ProcessGroup]
) -> None:
    condition = make(**{"optimizer": "sgd"} | CASES[case])
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
        expected = step_alone(condition, dtype)
        assert expected[0]
        for found in groups(size)(step_together, condition, dtype):
            check(expected, found, tolerance)


@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.BatchNorm1d(3), (7, 3)),
        (nn.BatchNorm1d(3, momentum=None), (7, 3, 5)),
        (nn.BatchNorm2d(3, affine=False), (7, 3, 2, 4)),
        (nn.BatchNorm2d(3, momentum=0.3), (7, 3, 1, 1)),
        (nn.BatchNorm1d(3, track_running_stats=False), (7, 3)),
    ],
)
def test_batch_norm_is_that_of_the_whole_batch(
    norm: nn.Module, shape: tuple[int, ...], groups: Callable[[int], ProcessGroup]
) -> None:
    torch.manual_seed(1)
    norm = norm.double()
    # A mean far from zero, and shards of different ones.
    rows = torch.arange(len(torch.empty(shape))).view(-1, *[1] * (len(shape) - 1))
    inputs = 100 + torch.randn(shape).double() + rows
    wanted = torch.randn(shape).double()
    found = groups(2)(normalise_together, norm, inputs, wanted)
    expected = normalise_alone(norm, inputs, wanted)
    for values in found:
        assert len(values) == len(expected)
        for value, its in zip(values, expected, strict=True):
            assert torch.allclose(value, its, rtol=1e-9, atol=1e-9)


def test_batch_norm_of_half_types_has_the_statistics_of_the_values_given(
    groups: Callable[[int], ProcessGroup],
) -> None:
    torch.manual_seed(1)
    inputs = (30 + torch.randn(64, 3)).to(torch.bfloat16)
    wanted = torch.randn(64, 3).to(torch.bfloat16)
    expected = normalise_alone(nn.BatchNorm1d(3), inputs, wanted)
    for values in groups(2)(normalise_together, nn.BatchNorm1d(3), inputs, wanted):
        for value, its in zip(values, expected, strict=True):
            assert value.dtype == its.dtype
            # Outputs and gradients to the digits of bfloat16, buffers to those of float32.
            tolerance = 0.02 if its.dtype == torch.bfloat16 or its.shape == (3,) else 1e-5
            assert torch.allclose(value, its, rtol=tolerance, atol=tolerance)
        assert torch.allclose(values[-2].float(), expected[-2].float(), rtol=1e-4)


def test_with_dropout_workers_draw_for_themselves(
    make: MakeCondition, groups: Callable[[int], ProcessGroup]
) -> None:
    condition = make(target={"dropout": 0.5})
    first, second = groups(2)(step_together, condition, torch.float32)
    check(first, second, 0.0)
    with pytest.raises(AssertionError):
        check(step_alone(condition, torch.float32), first, 1e-2)


def test_the_mean_over_shards_is_another_number() -> None:
    # What would pass if features were not gathered must not: the tests above can fail.
    torch.manual_seed(0)
    target, guide = torch.randn(40, 30), torch.randn(40, 20)
    cka = distances.create("linear_cka")
    whole = float(cka(target, guide))
    shards = zip(target.tensor_split(2), guide.tensor_split(2), strict=True)
    assert abs(float(sum(cka(*shard) for shard in shards)) / 2 - whole) > 0.1


def test_one_process_is_left_as_it_is() -> None:
    rows = torch.randn(3, 2)
    assert ALONE.shard(rows) is rows
    assert ALONE.gather(rows, 3) is rows
    assert ALONE.is_main
    assert ALONE.stream("dropout") == "dropout"
