"""OpenWebText (Gokaslan and Cohen 2019): 8 million web pages that Reddit's users linked to."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from fnmatch import fnmatch
from itertools import chain, islice
from pathlib import Path

from trainers.data import data_root
from trainers.errors import UserError
from trainers.tasks import _parquet_texts, register
from trainers.tasks._text import SPLITS, LanguageModelling
from trainers.tasks._tokenizers import file_digest

REPOSITORY, CONFIGURATION = "Skylion007/openwebtext", "plain_text"
PATTERN = "train-*.parquet"
NUM_DOCUMENTS, NUM_FILES = 8_013_769, 80
#: Byte pairs of GPT-2 in all documents, as published with nanoGPT; word pieces are about as many.
NUM_TOKENS = 9_040_017_095
#: One document of so many is in the validation split, and as many are in the test split.
HELD_OUT_OF = 200


@register("openwebtext", version=1)
class OpenWebText(LanguageModelling):
    """Next word piece in OpenWebText, in blocks of 256 pieces of cased BERT.

    The first `documents` of the corpus, whose published order is random, follow each other without
    a mark. There is one published split. A document's own digest says where it belongs: 0.5 % of
    documents are for validation and 0.5 % for the test, whatever `documents` is, and equal ones are
    in one split. Prepared tokens take 16 bytes each, 1.8 GB for 100,000 documents, 145 GB for all.

    Files are looked for in `openwebtext/` of the data root: the Parquet files of Hugging Face's
    `Skylion007/openwebtext` (`plain_text/train-00000-of-00080.parquet` and on, 100,173 documents
    and 300 MB each), in the order of their names. Only as many as hold `documents` are needed, read
    and part of the digest; what lacks is downloaded if `huggingface_hub` is installed. Tokenizers:
    as of `pydoc_topics`.
    """

    def __init__(
        self,
        *,
        documents: int = 100_000,
        context: int = 256,
        tokenizer: str = "bert-base-cased",
        vocabulary: int | None = None,
        train_size: int | None = None,
    ) -> None:
        if not 1 <= documents <= NUM_DOCUMENTS:
            raise UserError(
                f"task openwebtext: documents is {documents}; allowed: 1 to {NUM_DOCUMENTS}"
            )
        super().__init__("openwebtext", context, tokenizer, vocabulary, train_size)
        self._documents = documents
        training = documents * (1 - 2 / HELD_OUT_OF)
        self.expected_tokens = round(training * NUM_TOKENS / NUM_DOCUMENTS)

    def data_places(self) -> list[Path]:
        """The task's folder in the data root."""
        return [data_root.root() / "openwebtext"]

    def contents(self) -> Mapping[str, str]:
        """Digest of each file that is read, by its number."""
        return {str(index): file_digest(file) for index, file in enumerate(self._files())}

    def read(self) -> Mapping[str, str]:
        """The text of each split."""
        documents = chain.from_iterable(map(_parquet_texts.texts, self._files()))
        parts: dict[str, list[str]] = {split: [] for split in SPLITS}
        for document in islice(documents, self._documents):
            parts[split_of(document)].append(document)
        return {split: "".join(parts[split]) for split in SPLITS}

    def check_data(self) -> None:
        """Download text and tokenizer if missing; raises FileNotFoundError if that fails."""
        try:
            self._files()
        except FileNotFoundError as error:
            (folder,) = self.data_places()
            count = math.ceil(self._documents / (NUM_DOCUMENTS // NUM_FILES))
            numbers = range(min(count, NUM_FILES))
            names = [f"{CONFIGURATION}/train-{number:05}-of-*.parquet" for number in numbers]
            _parquet_texts.download(REPOSITORY, names, folder, error)
        super().check_data()

    def _files(self) -> list[Path]:
        """The first files of the folder that hold the documents; raises FileNotFoundError."""
        (folder,) = self.data_places()
        with data_root.reading(folder):
            found = sorted(folder.iterdir()) if folder.is_dir() else []
        files, count = [], 0
        for file in (file for file in found if fnmatch(file.name, PATTERN)):
            files.append(file)
            count += _parquet_texts.num_texts(file)
            if count >= self._documents:
                return files
        raise FileNotFoundError(
            f"task openwebtext: {folder} holds {count} documents in {len(files)} files "
            f"{PATTERN}, and documents is {self._documents}; expected are the first files of "
            f"https://huggingface.co/datasets/{REPOSITORY}, {CONFIGURATION}; another data root is "
            f"named by {data_root.VARIABLE}"
        )


def split_of(document: str) -> str:
    """The split of a document, a function of its text alone."""
    place = int.from_bytes(hashlib.sha256(document.encode()).digest()[:8], "big") % HELD_OUT_OF
    return {0: "validation", 1: "test"}.get(place, "train")
