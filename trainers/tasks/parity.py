"""Parity of bit strings of random length (paper, sequence experiments)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor

from trainers.errors import UserError
from trainers.tasks import Classification, InputSpec, OutputSpec, Split, register

NUM_HELD_OUT = 2000
TRAIN_SEED, VALIDATION_SEED, TEST_SEED = 0, 1, 2
PADDING = 2
#: Fewest bits of strings that are in one split only; there are too few shorter strings for that.
DISJOINT_LENGTH = 12


@register("parity", version=1)
class Parity(Classification):
    """Parity of the number of ones in strings of `min_length` to `max_length` bits.

    Lengths are drawn uniformly, then bits; padding (token 2) fills up to `max_length`. Training
    strings are generated anew, or are `train_size` fixed ones (the paper: 100,000). Chance is about
    .5.
    """

    redraws = True

    def __init__(
        self, *, min_length: int = 2, max_length: int = 50, train_size: int | None = None
    ) -> None:
        if not 1 <= min_length <= max_length:
            raise UserError(
                f"task parity: min_length is {min_length} and max_length is {max_length}; "
                "allowed: 1 or more, min_length up to max_length"
            )
        if train_size is not None and train_size < 1:
            raise UserError(f"task parity: train_size is {train_size}; allowed: 1 or more, null")
        self.input = InputSpec(kind="tokens", shape=(max_length,), vocabulary=3, padding=PADDING)
        self.output = OutputSpec(num_classes=2)
        self.num_train = train_size
        self._min_length = min_length

    def load(self) -> Mapping[str, Split]:
        """Validation and test splits of 2000 fixed strings, and the training split if fixed."""
        if self.num_train is None:
            return self._held_out
        train = self.sample(
            self.num_train, torch.Generator().manual_seed(self.draw_seed(TRAIN_SEED))
        )
        return {"train": train, **self._held_out}

    def sample(self, num_examples: int, generator: torch.Generator) -> Split:
        """Strings (N, max_length) and labels (N,); long strings are in no other split."""
        return _with_parity(self._draw(num_examples, generator, self._taken))

    @cached_property
    def _held_out(self) -> dict[str, Split]:
        first, second = (
            torch.Generator().manual_seed(self.draw_seed(seed))
            for seed in (VALIDATION_SEED, TEST_SEED)
        )
        validation = self._draw(NUM_HELD_OUT, first, set())
        test = self._draw(NUM_HELD_OUT, second, _long_strings(validation))
        return {"validation": _with_parity(validation), "test": _with_parity(test)}

    @cached_property
    def _taken(self) -> set[bytes]:
        return set().union(*(_long_strings(split.inputs) for split in self._held_out.values()))

    def _draw(self, num_strings: int, generator: torch.Generator, taken: set[bytes]) -> Tensor:
        """Strings (N, max_length), drawn again while they are in `taken`."""
        strings = self._strings(num_strings, generator)
        while again := [i for i, key in enumerate(_keys(strings)) if key in taken]:
            strings[again] = self._strings(len(again), generator)
        return strings

    def _strings(self, num_strings: int, generator: torch.Generator) -> Tensor:
        (longest,) = self.input.shape
        lengths = torch.randint(
            self._min_length, longest + 1, (num_strings, 1), generator=generator
        )
        bits = torch.randint(2, (num_strings, longest), generator=generator)
        return bits.masked_fill_(torch.arange(longest) >= lengths, PADDING)


def _with_parity(strings: Tensor) -> Split:
    return Split(strings, (strings == 1).sum(1) % 2)


def _keys(strings: Tensor) -> list[bytes]:
    return [string.tobytes() for string in strings.to(torch.uint8).numpy()]


def _long_strings(strings: Tensor) -> set[bytes]:
    return set(_keys(strings[(strings != PADDING).sum(1) >= DISJOINT_LENGTH]))
