"""Cells of inputs at the places of taps, against convolutions and loops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from trainers.architectures.taps import to_rows
from trainers.controls._places import cells, grid, spread
from trainers.errors import UserError


@pytest.mark.parametrize("size", [(8, 12), (12,)])
def test_cells_are_patches_of_the_input(size: tuple[int, ...]) -> None:
    inputs = torch.randn(3, 2, *size)
    places = tuple(n // 4 for n in size)
    found = cells(inputs, places)
    assert found.shape == (3, 2 * 4 ** len(size), *places)
    # PyTorch's unfold has the same patches as columns.
    wide = inputs if len(size) == 2 else inputs[:, :, None]
    kernel = (4, 4) if len(size) == 2 else (1, 4)
    patches = functional.unfold(wide, kernel, stride=kernel)
    assert torch.equal(found.flatten(2), patches)


def test_places_of_pixels_are_the_pixels() -> None:
    inputs = torch.randn(2, 3, 5, 6)
    assert torch.equal(cells(inputs, (5, 6)), inputs)


def test_one_place_sees_the_whole_input_in_the_order_of_flattened_pixels() -> None:
    inputs = torch.randn(2, 3, 5, 6)
    assert torch.equal(cells(inputs, ()), inputs.flatten(1))


@pytest.mark.parametrize("length", [5, 7])
def test_sides_that_do_not_divide_are_resampled(length: int) -> None:
    ramp = torch.arange(length).float().expand(1, 1, length)
    found = cells(ramp, (3,))
    assert found.shape == (1, -(-length // 3), 3)
    in_order = found.transpose(1, 2).flatten()
    assert torch.equal(in_order, in_order.sort().values)
    assert in_order.mean().item() == pytest.approx((length - 1) / 2)
    assert torch.equal(cells(torch.ones(1, 1, length), (3,)), torch.ones_like(found))


def test_grids() -> None:
    assert grid(torch.Size([8, 4, 6]), "image") == (4, 6)
    assert grid(torch.Size([8, 10]), "signal") == (10,)
    for one in ([8], [8, 1, 1], [1, 8]):
        assert grid(torch.Size(one), "image") == ()
    assert grid(torch.Size([8, 1]), "signal") == ()
    with pytest.raises(UserError, match=r"a tap of shape \(17, 8\) has 17 tokens, whose places"):
        grid(torch.Size([17, 8]), "image")


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((6,), "image"),
        ((6, 2, 3), "image"),
        ((5, 6), "image"),
        ((6, 5), "signal"),
        ((5, 6), "tokens"),
    ],
)
@pytest.mark.parametrize("rows", ["positions", "tokens"])
def test_what_is_spread_has_the_rows_of_the_tap(
    shape: tuple[int, ...], kind: Any, rows: Any
) -> None:
    tap, features = torch.randn(4, *shape), torch.randn(4, 7)
    found = to_rows(spread(features, torch.Size(shape), kind), rows, kind)
    like = to_rows(tap, rows, kind)
    assert found.shape == (*like.shape[:-1], 7)
    # Each example marks its rows in both.
    marks = torch.arange(4.0)
    marked = torch.ones_like(tap) * marks.view(4, *[1] * len(shape))
    example = to_rows(marked, rows, kind)[..., 0].long()
    assert torch.equal(found, features[example])
