"""Tokenizers: characters, bytes, byte pairs learnt from the training text, or word pieces."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from trainers.data import atomic, data_root, machine_cache
from trainers.errors import UserError

#: Size of the vocabulary of characters: 0 is any other character, 1 a line end, then ASCII.
NUM_CHARACTERS = 2 + 95
NUM_BYTES = 256
DEFAULT_BPE = 1024
#: Vocabularies of published tokenizers, so that networks can be planned without their files.
PUBLISHED = {"bert-base-cased": 28_996, "bert-base-uncased": 30_522}
#: Placeholder of words outside the vocabulary in wiki text and others.
UNKNOWN = "<unk>"

NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_LINES_AT_A_TIME = 10_000


class Tokenizer(ABC):
    """Converts text to tokens, integers from 0 to `vocabulary` - 1."""

    vocabulary: int

    @abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """Tokens (n,) of a text, as integers."""

    def learn(self, text: str) -> None:  # noqa: B027
        """Adapt to a training text; without effect unless the tokenizer learns."""

    def digest(self) -> str | None:
        """SHA-256 of the tokenizer's file; None if it needs none. Raises FileNotFoundError."""
        return None

    def fetch(self) -> None:  # noqa: B027
        """Download the tokenizer's file if missing; raises FileNotFoundError if that fails."""


def tokenizer_of(task: str, name: str, vocabulary: int | None) -> Tokenizer:
    """The tokenizer of a name: `characters`, `bytes`, `bpe`, or a published one.

    Raises UserError, in the task's name, if there is no such tokenizer or vocabulary.
    """
    if vocabulary is not None and vocabulary < 1:
        raise UserError(f"task {task}: vocabulary is {vocabulary}; allowed: 1 or more, null")
    if name in ("characters", "bytes"):
        if vocabulary is not None:
            raise UserError(
                f"task {task}: vocabulary is {vocabulary}; allowed with tokenizer {name}: null"
            )
        return Characters() if name == "characters" else Bytes()
    if name == "bpe":
        if vocabulary is not None and vocabulary < NUM_BYTES:
            raise UserError(
                f"task {task}: vocabulary is {vocabulary}; allowed with bpe: {NUM_BYTES} or more"
            )
        return BytePairs(vocabulary or DEFAULT_BPE)
    if not NAME.fullmatch(name):
        raise UserError(
            f"task {task}: tokenizer is {name!r}; allowed: characters, bytes, bpe, or the name of "
            "a published one, such as bert-base-cased"
        )
    return Published(task, name, vocabulary)


class Characters(Tokenizer):
    """Printable ASCII and line ends, and one token for every other character."""

    vocabulary = NUM_CHARACTERS

    def encode(self, text: str) -> np.ndarray:
        """One token per character."""
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        printable = np.where((codes >= 32) & (codes < 127), codes - 30, 0)
        return np.where(codes == ord("\n"), 1, printable).astype(np.int32)


class Bytes(Tokenizer):
    """The bytes of UTF-8."""

    vocabulary = NUM_BYTES

    def encode(self, text: str) -> np.ndarray:
        """One token per byte."""
        return np.frombuffer(text.encode(), np.uint8)


class BytePairs(Tokenizer):
    """Byte-level byte-pair encoding (Radford et al. 2019), learnt from the training text.

    Learning does not depend on threads or hash seeds: ties of counts are broken by the pair itself.
    A small text leaves part of the vocabulary unused.
    """

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary = vocabulary
        self._learnt: Any = None

    def learn(self, text: str) -> None:
        """Learn the byte pairs of a text."""
        from tokenizers import Tokenizer as Fast
        from tokenizers import models, pre_tokenizers, trainers

        self._learnt = Fast(models.BPE())
        self._learnt.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocabulary,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        self._learnt.train_from_iterator(_lines(text), trainer)

    def encode(self, text: str) -> np.ndarray:
        """One token per run of bytes; `learn` must come first."""
        assert self._learnt is not None
        return _encoded(self._learnt, _lines(text))


class Published(Tokenizer):
    """A published tokenizer: `tokenizers/<name>/tokenizer.json` of the data root, or `vocab.txt`.

    A `vocab.txt` is of BERT's word pieces (Devlin et al. 2019), which ignore case where their name
    says `uncased`. `<unk>` in a text is the tokenizer's unknown token.
    """

    def __init__(self, task: str, name: str, vocabulary: int | None) -> None:
        self._task, self._name = task, name
        if vocabulary is None:
            vocabulary = PUBLISHED.get(name.rpartition("/")[2])
        if vocabulary is None and self._file() is not None:
            vocabulary = self._open().get_vocab_size()
        if vocabulary is None:
            raise UserError(
                f"task {task}: tokenizer is {name}, of which the vocabulary is not known; set "
                f"vocabulary, or put tokenizer.json or vocab.txt into {self._folder}"
            )
        self.vocabulary = vocabulary

    def encode(self, text: str) -> np.ndarray:
        """One token per word piece; raises UserError if the vocabulary is too small."""
        fast = self._open()
        if fast.get_vocab_size() > self.vocabulary:
            raise UserError(
                f"task {self._task}: vocabulary is {self.vocabulary}; allowed with {self._file()}: "
                f"{fast.get_vocab_size()} or more"
            )
        unknown = getattr(fast.model, "unk_token", None)
        lines = _lines(text)
        if unknown is not None:
            fast.add_special_tokens([unknown])
            lines = (line.replace(UNKNOWN, unknown) for line in lines)
        return _encoded(fast, lines)

    def digest(self) -> str:
        """SHA-256 of the file; raises FileNotFoundError if there is none."""
        return file_digest(self._found())

    def fetch(self) -> None:
        """Download the tokenizer from the Hugging Face hub if it is missing."""
        if self._file() is not None:
            return
        from tokenizers import Tokenizer as Fast

        try:
            content = Fast.from_pretrained(self._name).to_str()
        except Exception as error:  # The library raises bare exceptions.
            raise FileNotFoundError(
                f"{self._missing}, nor could it be downloaded: {error}"
            ) from error
        with atomic.replaced(self._folder / "tokenizer.json") as temporary:
            temporary.write_text(content, encoding="utf-8")

    @property
    def _folder(self) -> Path:
        return data_root.root() / "tokenizers" / self._name

    @property
    def _missing(self) -> str:
        return (
            f"task {self._task}: neither tokenizer.json nor vocab.txt of {self._name} is in "
            f"{self._folder}"
        )

    def _file(self) -> Path | None:
        files = (self._folder / name for name in ("tokenizer.json", "vocab.txt"))
        return next((file for file in files if data_root.is_file(file)), None)

    def _found(self) -> Path:
        file = self._file()
        if file is None:
            raise FileNotFoundError(self._missing)
        return file

    def _open(self) -> Any:
        from tokenizers import Tokenizer as Fast
        from tokenizers import models, normalizers, pre_tokenizers

        file = self._found()
        try:
            if file.suffix == ".json":
                return Fast.from_file(str(file))
            fast = Fast(models.WordPiece.from_file(str(file), unk_token="[UNK]"))
            if not fast.get_vocab_size():
                raise UserError("it is empty")
        except Exception as error:  # The library raises bare exceptions.
            raise UserError(
                f"task {self._task}: {file} is no tokenizer, or is damaged: {error}; replace or "
                "remove it"
            ) from error
        fast.normalizer = normalizers.BertNormalizer(lowercase="uncased" in self._name)
        fast.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        return fast


def file_digest(path: Path) -> str:
    """SHA-256 of a file, which is read again only if it has changed.

    Raises UserError if it cannot be read.
    """
    with data_root.reading(path):
        return machine_cache.remembered(path, _bytes_digest)


def _bytes_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lines(text: str) -> Iterator[str]:
    """Lines of a text, with their line ends."""
    return (match.group() for match in re.finditer(r"[^\n]*\n|[^\n]+", text))


def _encoded(fast: Any, lines: Iterable[str]) -> np.ndarray:
    rest = iter(lines)
    parts = [np.zeros(0, np.int32)]
    while batch := list(islice(rest, _LINES_AT_A_TIME)):
        encoded = fast.encode_batch(batch, add_special_tokens=False)
        parts.append(np.fromiter(chain.from_iterable(e.ids for e in encoded), np.int32))
    return np.concatenate(parts)
