"""Language modelling: which token comes next, at every position of blocks of a text."""

from __future__ import annotations

import hashlib
import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch

from trainers.errors import UserError
from trainers.tasks import ABSENT, InputSpec, OutputSpec, Split, Task
from trainers.tasks._tokenizers import tokenizer_of

SPLITS = ("train", "validation", "test")
#: The largest tensor of logits in a forward pass outside training.
LOGIT_BYTES = 250_000_000
_DIGEST_LENGTH = 16


class LanguageModelling(Task):
    """Blocks of `context` tokens of a text, and at each position the token that comes next.

    Blocks do not overlap; what is left at the end of a split is dropped. Perplexity is the
    exponential of the mean cross-entropy in nats, per token: it compares networks of one tokenizer.
    """

    primary_metric = "perplexity"
    higher_is_better: ClassVar[Mapping[str, bool]] = {
        "perplexity": False, "accuracy": True, "loss": False,
    }  # fmt: skip
    #: Training tokens that a plan counts on where the data is not here.
    expected_tokens: ClassVar[int] = 1_000_000

    def __init__(
        self,
        name: str,
        context: int,
        tokenizer: str,
        vocabulary: int | None,
        train_size: int | None,
    ) -> None:
        for option, value in (("context", context), ("train_size", train_size)):
            if value is not None and value < 1:
                raise UserError(f"task {name}: {option} is {value}; allowed: 1 or more")
        self._name, self._context, self._train_size = name, context, train_size
        self._tokenizer = tokenizer_of(name, tokenizer, vocabulary)
        size = self._tokenizer.vocabulary
        self.input = InputSpec(kind="tokens", shape=(context,), vocabulary=size)
        self.output = OutputSpec(num_classes=size, per_position=True)
        self.forward_batch = max(1, min(Task.forward_batch, LOGIT_BYTES // (4 * context * size)))
        self._num_train: int | None = train_size

    @abstractmethod
    def read(self) -> Mapping[str, str]:
        """The text of each split; raises FileNotFoundError where it is not there."""

    @abstractmethod
    def contents(self) -> Mapping[str, str]:
        """A digest of the content of each part of the text; raises FileNotFoundError."""

    @property
    def num_train(self) -> int | None:  # type: ignore[override]
        """Training blocks; without `train_size`, the first to ask has the text cut into them.

        Where the data is not here, as many as `expected_tokens` give.
        """
        if self._num_train is None:
            # While splits load, they may be asked how many there are.
            expected = self._num_train = max(1, self.expected_tokens // self._context)
            counted = None
            try:
                if self.data_digest() != ABSENT:
                    counted = len(self.train.inputs)
            finally:
                self._num_train = counted
            return counted or expected
        return self._num_train

    def data_digest(self) -> str:
        """Of the text, and of the tokenizer's file if it has one."""
        try:
            content = {**self.contents(), "tokenizer": self._tokenizer.digest()}
        except FileNotFoundError:
            return ABSENT
        lines = "".join(f"{name} {digest}\n" for name, digest in sorted(content.items()))
        return hashlib.sha256(lines.encode()).hexdigest()[:_DIGEST_LENGTH]

    def check_data(self) -> None:
        """Download what can be; raises FileNotFoundError that says what is expected where."""
        self.contents()
        self._tokenizer.fetch()

    def load(self) -> Mapping[str, Split]:
        """Blocks of tokens (N, context), and as labels the same one token on."""
        self.check_data()
        texts = self.read()
        self._tokenizer.learn(texts["train"])
        splits = {name: self._blocks(name, texts[name]) for name in SPLITS}
        if self._train_size is not None:
            available = len(splits["train"].inputs)
            if self._train_size > available:
                raise UserError(
                    f"task {self._name}: train_size is {self._train_size}; allowed: 1 to "
                    f"{available}"
                )
            splits["train"] = Split(*(part[: self._train_size] for part in splits["train"]))
        return splits

    def _blocks(self, name: str, text: str) -> Split:
        tokens = torch.from_numpy(self._tokenizer.encode(text).astype("int64"))
        count = (len(tokens) - 1) // self._context
        if count < 1:
            raise UserError(
                f"task {self._name}: the {name} text has {len(tokens)} tokens, fewer than a block "
                f"of context {self._context} and the token after it"
            )
        length = count * self._context
        shape = count, self._context
        # Both are views of the same tokens.
        return Split(tokens[:length].view(shape), tokens[1 : length + 1].view(shape))

    def score(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Perplexity beside accuracy and loss."""
        scores = super().score(sums)
        return {"perplexity": perplexity(scores["loss"]), **scores}


def perplexity(loss: float) -> float:
    """The exponential of a mean cross-entropy in nats."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def by_position(text: str) -> dict[str, str]:
    """The first 90 % of a text for training, the next 5 % for validation, the rest for the test."""
    first, second = round(0.9 * len(text)), round(0.95 * len(text))
    return {"train": text[:first], "validation": text[first:second], "test": text[second:]}


def text_digest(text: str) -> str:
    """SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()
