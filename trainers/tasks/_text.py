"""Language modelling: prediction of the next token at every position of blocks of a text."""

from __future__ import annotations

import hashlib
import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch

from trainers.errors import UserError
from trainers.tasks import ABSENT, Classification, InputSpec, OutputSpec, Split, Task
from trainers.tasks._tokenizers import tokenizer_of

SPLITS = ("train", "validation", "test")
#: The largest tensor of logits in a forward pass outside training.
LOGIT_BYTES = 250_000_000
_DIGEST_LENGTH = 16


class LanguageModelling(Classification):
    """Blocks of `context` tokens of a text; the label of each position is the next token.

    Blocks do not overlap; a shorter rest at the end of a split is dropped. Perplexity is the
    exponential of the mean cross-entropy in nats per token, comparable for the same tokenizer only.
    """

    primary_metric = "perplexity"
    higher_is_better: ClassVar[Mapping[str, bool]] = {
        "perplexity": False, "accuracy": True, "loss": False,
    }  # fmt: skip
    #: Number of training tokens that plans assume if the data is absent.
    expected_tokens: int = 1_000_000

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
        """The text of each split; raises FileNotFoundError if it is absent."""

    @abstractmethod
    def contents(self) -> Mapping[str, str]:
        """Digests of the parts of the text, by part; raises FileNotFoundError if it is absent."""

    @property
    def num_train(self) -> int | None:  # type: ignore[override]
        """Number of training blocks; without `train_size`, the first call loads the text.

        If the data is absent, the number that follows from `expected_tokens`.
        """
        if self._num_train is None:
            # Loading the splits may ask for their number, which must not load them again.
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
        """Digest of the text and of the tokenizer's file, if any; `ABSENT` if either is absent."""
        try:
            content = {**self.contents(), "tokenizer": self._tokenizer.digest()}
        except FileNotFoundError:
            return ABSENT
        lines = "".join(f"{name} {digest}\n" for name, digest in sorted(content.items()))
        return hashlib.sha256(lines.encode()).hexdigest()[:_DIGEST_LENGTH]

    def check_data(self) -> None:
        """Download missing files; raises FileNotFoundError that says which are expected where."""
        self.contents()
        self._tokenizer.fetch()

    def load(self) -> Mapping[str, Split]:
        """Splits of token blocks (N, context); labels are the same text shifted by one token."""
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

    def chance(self, metric: str) -> float | None:
        """Score of a uniform guess: its perplexity is the size of the vocabulary."""
        return float(self.output.num_outputs) if metric == "perplexity" else super().chance(metric)


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
