"""WikiText-103 (Merity et al. 2016, arXiv 1609.07843): 103 million words of Wikipedia."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trainers.data import data_root
from trainers.tasks import _parquet_texts, register
from trainers.tasks._text import SPLITS, LanguageModelling
from trainers.tasks._tokenizers import file_digest

#: Names of the splits in the published files.
PUBLISHED_NAMES = {"train": "train", "validation": "valid", "test": "test"}
SUFFIXES = (".tokens", ".raw")
REPOSITORY, CONFIGURATION = "Salesforce/wikitext", "wikitext-103-v1"


@register("wikitext103", version=1)
class WikiText103(LanguageModelling):
    """Next word piece in WikiText-103, in blocks of 256 pieces of cased BERT, as in the paper.

    Files are looked for in `wikitext103/` of the data root: `wiki.{train,valid,test}.tokens` (or
    `.raw`), or the Parquet files of Hugging Face's `Salesforce/wikitext`, whose configuration
    `wikitext-103-v1` is downloaded where nothing is there and `huggingface_hub` is installed. The
    first plan cuts the text into pieces, which takes a while. Tokenizers: as of `pydoc_topics`.
    """

    expected_tokens = 103_227_021

    def __init__(
        self,
        *,
        context: int = 256,
        tokenizer: str = "bert-base-cased",
        vocabulary: int | None = None,
        train_size: int | None = None,
    ) -> None:
        super().__init__("wikitext103", context, tokenizer, vocabulary, train_size)

    def data_places(self) -> list[Path]:
        """The task's folder in the data root."""
        return [data_root.root() / "wikitext103"]

    def contents(self) -> Mapping[str, str]:
        """Digest of each file, by split and number of the file."""
        return {
            f"{split}/{index}": file_digest(file)
            for split, files in self._files().items()
            for index, file in enumerate(files)
        }

    def read(self) -> Mapping[str, str]:
        """The text of each split."""
        return {
            split: "".join(_read(file) for file in files) for split, files in self._files().items()
        }

    def check_data(self) -> None:
        """Download text and tokenizer if missing; raises FileNotFoundError if that fails."""
        try:
            self._files()
        except FileNotFoundError as error:
            (folder,) = self.data_places()
            _parquet_texts.download(REPOSITORY, [f"{CONFIGURATION}/*.parquet"], folder, error)
        super().check_data()

    def _files(self) -> dict[str, list[Path]]:
        (folder,) = self.data_places()
        for suffix in SUFFIXES:
            files = {s: [folder / f"wiki.{PUBLISHED_NAMES[s]}{suffix}"] for s in SPLITS}
            if all(data_root.is_file(file) for (file,) in files.values()):
                return files
        files = {split: sorted(folder.glob(f"{split}-*.parquet")) for split in SPLITS}
        if not all(files.values()):
            raise FileNotFoundError(
                f"task wikitext103: {folder} holds neither wiki.train.tokens, wiki.valid.tokens "
                "and wiki.test.tokens (nor the same as .raw) nor train-*.parquet, "
                f"validation-*.parquet and test-*.parquet of https://huggingface.co/datasets/"
                f"{REPOSITORY}, {CONFIGURATION}; another data root is named by {data_root.VARIABLE}"
            )
        return files


def _read(file: Path) -> str:
    if file.suffix == ".parquet":
        return "".join(_parquet_texts.texts(file))
    with data_root.reading(file):
        return file.read_text(encoding="utf-8")
