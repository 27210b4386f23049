"""Small texts, and the files of a tokenizer, for tasks that read them from the data root."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trainers.tasks import openwebtext

#: Options under which tasks fit the files of `write_all`.
OPTIONS: Mapping[str, dict[str, Any]] = {
    "openwebtext": {"context": 8, "vocabulary": 40, "documents": 20},
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


def documents(split: str, count: int) -> list[str]:
    """Documents of eight words which OpenWebText's rule puts into a split."""
    drawn = (" ".join(words(8, seed).split()) for seed in itertools.count())
    return list(
        itertools.islice((t for t in drawn if openwebtext.split_of(f"{t}\n") == split), count)
    )


def write_openwebtext(folder: Path) -> None:
    """Two files of 10 documents, of them 14 for training, 4 and 2 held out, and a third of 10."""
    folder.mkdir(parents=True, exist_ok=True)
    train, validation, test = (
        documents(split, count) for split, count in (("train", 24), ("validation", 4), ("test", 2))
    )
    mixed = [*validation[:2], *train[:7], test[0], *train[7:14], *validation[2:], test[1]]
    for number, part in enumerate((mixed[:10], mixed[10:], train[14:])):
        table = pa.table({"text": [text + "\n" * (i % 2) for i, text in enumerate(part)]})
        pq.write_table(table, folder / f"train-{number:05}-of-00003.parquet", row_group_size=4)


def write_all(root: Path) -> None:
    """What every text task needs for `OPTIONS`."""
    (root / "text").mkdir(parents=True)
    (root / "text" / "corpus.txt").write_text(words(2000, 9)[:4000], encoding="utf-8")
    write_wikitext(root / "wikitext103")
    write_openwebtext(root / "openwebtext")
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
