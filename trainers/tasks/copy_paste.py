"""Copy a sequence of random tokens after a copy token (paper, sequence experiments)."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from trainers.tasks import IGNORE, InputSpec, OutputSpec, Split, Task, register

NUM_HELD_OUT = 2000
VALIDATION_SEED, TEST_SEED = 1, 2


@register("copy_paste", version=1)
class CopyPaste(Task):
    """`length` random tokens of `symbols`, a copy token, `length` blanks: repeat them in order.

    The vocabulary is the symbols, then the copy token, then the blank. Training batches are
    generated afresh; answers are symbols, loss and accuracy count the blanks alone: chance is
    1 / symbols.
    """

    def __init__(self, *, length: int = 20, symbols: int = 8) -> None:
        if length < 1 or symbols < 2:
            raise ValueError(
                f"task copy_paste: length is {length} and symbols is {symbols}; "
                "allowed: length of 1 or more, 2 or more symbols"
            )
        self.input = InputSpec(kind="tokens", shape=(2 * length + 1,), vocabulary=symbols + 2)
        self.output = OutputSpec(num_classes=symbols, per_position=True)
        self.num_train = None
        self._length, self._symbols = length, symbols

    def load(self) -> Mapping[str, Split]:
        """Validation and test: 2000 fixed sequences each."""
        seeds = {"validation": VALIDATION_SEED, "test": TEST_SEED}
        return {
            name: self.sample(NUM_HELD_OUT, torch.Generator().manual_seed(seed))
            for name, seed in seeds.items()
        }

    def sample(self, num_examples: int, generator: torch.Generator) -> Split:
        """Tokens (N, 2 length + 1), and as labels the tokens to repeat where the blanks are."""
        tokens = torch.randint(self._symbols, (num_examples, self._length), generator=generator)
        copy = torch.full((num_examples, 1), self._symbols)
        blanks = torch.full_like(tokens, self._symbols + 1)
        unscored = torch.full((num_examples, self._length + 1), IGNORE)
        return Split(torch.cat([tokens, copy, blanks], 1), torch.cat([unscored, tokens], 1))
