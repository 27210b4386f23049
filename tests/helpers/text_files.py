"""Small texts, and the files of a tokenizer, for tasks that read them from the data root."""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

#: Options under which tasks fit the files of `write_all`.
OPTIONS: Mapping[str, dict[str, Any]] = {
    "wikitext103": {"context": 8, "vocabulary": 40},
}
WORDS = [
    "the", "of", "and", "a", "cat", "dog", "runs", "sleeps", "under", "over", "old", "new", "tree",
    "house",
]  # fmt: skip
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, "##s", "run", "sleep", "=", ".", "The"]


def words(count: int, seed: int) -> str:
    """Lines of seven words, some of them unknown."""
    generator = random.Random(seed)
    drawn = [generator.choice([*WORDS, "<unk>"]) for _ in range(count)]
    return "".join(f" {' '.join(drawn[i : i + 7])} \n" for i in range(0, count, 7))


def write_wikitext(folder: Path, suffix: str = ".tokens") -> None:
    """48, 32 and 16 words and one more: as many blocks of 8 as there are eights."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, count) in enumerate({"train": 49, "valid": 33, "test": 17}.items()):
        (folder / f"wiki.{name}{suffix}").write_text(words(count, seed), encoding="utf-8")


def write_tokenizer(folder: Path) -> None:
    """A vocabulary of word pieces."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")


def write_all(root: Path) -> None:
    """What every text task needs for `OPTIONS`."""
    (root / "text").mkdir(parents=True)
    (root / "text" / "corpus.txt").write_text(words(2000, 9)[:4000], encoding="utf-8")
    write_wikitext(root / "wikitext103")
    write_tokenizer(root / "tokenizers" / "bert-base-cased")


def pydoc_sizes(context: int) -> tuple[int, int, int]:
    """Blocks of characters in the distinct paragraphs of this Python's topics, by split."""
    from pydoc_data.topics import topics

    seen: set[str] = set()
    for name in sorted(topics):
        seen.update(paragraph.strip("\n") for paragraph in topics[name].split("\n\n"))
    total = sum(map(len, seen)) + 2 * (len(seen) - 1)
    cuts = [0, round(0.9 * total), round(0.95 * total), total]
    train, validation, test = ((end - start - 1) // context for start, end in pairwise(cuts))
    return train, validation, test
