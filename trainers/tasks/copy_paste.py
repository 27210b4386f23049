"""Copy a sequence of random tokens after a copy token (paper, sequence experiments)."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from trainers.errors import UserError
from trainers.tasks import IGNORE, Classification, InputSpec, OutputSpec, Split, register

NUM_HELD_OUT = 2000
TRAIN_SEED, VALIDATION_SEED, TEST_SEED = 0, 1, 2


@register("copy_paste", version=1, later=("max_length", "train_size"))
class CopyPaste(Classification):
    """`length` random tokens of `symbols`, a copy token, `length` blanks: repeat them in order.

    The vocabulary is the symbols, then the copy token, then the blank. Training batches are
    generated anew, or drawn from `train_size` fixed sequences. Classes are the symbols; loss and
    accuracy count the blanks only: chance is 1 / symbols.

    With `max_length`, lengths are uniform from `length` to it, an end token follows the blanks, and
    padding fills up to the longest; both are further tokens, after the others. The end token is one
    more class, the label of its own position. The paper has length 20, max_length 40, symbols 10
    and train_size 100,000.
    """

    redraws = True

    def __init__(
        self,
        *,
        length: int = 20,
        symbols: int = 8,
        max_length: int | None = None,
        train_size: int | None = None,
    ) -> None:
        if length < 1 or symbols < 2:
            raise UserError(
                f"task copy_paste: length is {length} and symbols is {symbols}; "
                "allowed: length of 1 or more, 2 or more symbols"
            )
        if max_length is not None and max_length < length:
            raise UserError(
                f"task copy_paste: max_length is {max_length}; allowed: length ({length}) or more, "
                "null"
            )
        if train_size is not None and train_size < 1:
            raise UserError(
                f"task copy_paste: train_size is {train_size}; allowed: 1 or more, null"
            )
        if max_length is None:
            time, vocabulary, num_classes, padding = 2 * length + 1, symbols + 2, symbols, None
        else:
            time, vocabulary, num_classes = 2 * max_length + 2, symbols + 4, symbols + 1
            padding = symbols + 3
        self.input = InputSpec(kind="tokens", shape=(time,), vocabulary=vocabulary, padding=padding)
        self.output = OutputSpec(num_classes=num_classes, per_position=True)
        self.num_train = train_size
        self._length, self._symbols, self._max_length = length, symbols, max_length

    def load(self) -> Mapping[str, Split]:
        """Validation and test splits of 2000 fixed sequences, and the training split if fixed."""
        sizes = {"validation": (NUM_HELD_OUT, VALIDATION_SEED), "test": (NUM_HELD_OUT, TEST_SEED)}
        if self.num_train is not None:
            sizes["train"] = self.num_train, TRAIN_SEED
        return {
            name: self.sample(size, torch.Generator().manual_seed(self.draw_seed(seed)))
            for name, (size, seed) in sizes.items()
        }

    def sample(self, num_examples: int, generator: torch.Generator) -> Split:
        """Tokens (N, time) and labels (N, time): the tokens to repeat, at the blanks."""
        if self._max_length is not None:
            return self._sample_lengths(num_examples, self._max_length, generator)
        tokens = torch.randint(self._symbols, (num_examples, self._length), generator=generator)
        copy = torch.full((num_examples, 1), self._symbols)
        blanks = torch.full_like(tokens, self._symbols + 1)
        unscored = torch.full((num_examples, self._length + 1), IGNORE)
        return Split(torch.cat([tokens, copy, blanks], 1), torch.cat([unscored, tokens], 1))

    def _sample_lengths(self, num_examples: int, longest: int, generator: torch.Generator) -> Split:
        """Tokens and labels (N, 2 longest + 2) of sequences whose lengths differ."""
        lengths = torch.randint(self._length, longest + 1, (num_examples, 1), generator=generator)
        tokens = torch.randint(self._symbols, (num_examples, longest), generator=generator)
        position = torch.arange(2 * longest + 2)
        copy, blank, end, padding = range(self._symbols, self._symbols + 4)
        inputs = torch.full((num_examples, 2 * longest + 2), padding)
        inputs[:, :longest] = tokens
        inputs[position >= lengths] = padding
        inputs[position == lengths] = copy
        answers = (position > lengths) & (position <= 2 * lengths)
        inputs[answers] = blank
        inputs[position == 2 * lengths + 1] = end
        labels = torch.full_like(inputs, IGNORE)
        labels[answers] = tokens[torch.arange(longest) < lengths]
        labels[position == 2 * lengths + 1] = self._symbols
        return Split(inputs, labels)
