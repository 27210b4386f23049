"""Language modelling on any text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trainers.data import data_root
from trainers.errors import UserError
from trainers.tasks import register
from trainers.tasks._text import SPLITS, LanguageModelling, by_position
from trainers.tasks._tokenizers import NAME, file_digest

WHOLE = "text"


@register("text", version=1)
class Text(LanguageModelling):
    """Next token in a text of your own: `text/<corpus>.txt` of the data root, in UTF-8.

    It is split by position: 90 % train, then 5 % validation, 5 % test. A folder `text/<corpus>/`
    with `train.txt`, `validation.txt` and `test.txt` gives the splits instead. The digest of the
    content enters ids, the path does not. Tokenizers: as in `pydoc_topics`.
    """

    def __init__(
        self,
        *,
        corpus: str = "corpus",
        context: int = 64,
        tokenizer: str = "characters",
        vocabulary: int | None = None,
        train_size: int | None = None,
    ) -> None:
        if not NAME.fullmatch(corpus):
            raise UserError(
                f"task text: corpus is {corpus!r}; allowed: the name of a file or folder in "
                f"{data_root.root() / 'text'}, without .txt"
            )
        super().__init__("text", context, tokenizer, vocabulary, train_size)
        self._corpus = corpus

    def data_places(self) -> list[Path]:
        """The text file, then the folder of splits."""
        folder = data_root.root() / "text"
        return [folder / f"{self._corpus}.txt", folder / self._corpus]

    def contents(self) -> Mapping[str, str]:
        """Digest of each file, by split; raises FileNotFoundError if they are missing."""
        return {part: file_digest(file) for part, file in self._files().items()}

    def read(self) -> Mapping[str, str]:
        """The text of each split; raises UserError if it is not UTF-8."""
        texts = {part: _read(file) for part, file in self._files().items()}
        return by_position(texts[WHOLE]) if WHOLE in texts else texts

    def _files(self) -> dict[str, Path]:
        whole, folder = self.data_places()
        if data_root.is_file(whole):
            return {WHOLE: whole}
        files = {split: folder / f"{split}.txt" for split in SPLITS}
        if not all(data_root.is_file(file) for file in files.values()):
            raise FileNotFoundError(
                f"task text: there is neither {whole} nor a folder {folder} with "
                f"{', '.join(file.name for file in files.values())}; another data root is named by "
                f"{data_root.VARIABLE}"
            )
        return files


def _read(file: Path) -> str:
    with data_root.reading(file):
        return file.read_text(encoding="utf-8")
