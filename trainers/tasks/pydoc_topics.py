"""English text that comes with Python: the help topics of its reference manual."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from trainers.tasks import register
from trainers.tasks._text import LanguageModelling, by_position, text_digest


@register("pydoc_topics", version=1)
class PydocTopics(LanguageModelling):
    """Next token in the help topics of Python's reference manual (`pydoc_data.topics`), 0.4 MB.

    Topics in alphabetical order, 90 % train, then 5 % validation, 5 % test. Topics quote each other
    (a sixth of the test text would be in the training text too), so only the first occurrence of a
    paragraph is kept. The text differs between versions of Python, and its digest enters ids.
    Tokenizers: `characters`, `bytes`, `bpe` (learnt from the training text, `vocabulary` tokens),
    or a published one by its name.
    """

    def __init__(
        self,
        *,
        context: int = 64,
        tokenizer: str = "characters",
        vocabulary: int | None = None,
        train_size: int | None = None,
    ) -> None:
        super().__init__("pydoc_topics", context, tokenizer, vocabulary, train_size)

    @cached_property
    def _text(self) -> str:
        from pydoc_data.topics import topics

        paragraphs = "\n\n".join(topics[name] for name in sorted(topics)).split("\n\n")
        return "\n\n".join(dict.fromkeys(paragraph.strip("\n") for paragraph in paragraphs))

    def contents(self) -> Mapping[str, str]:
        """Digest of the whole text."""
        return {"text": text_digest(self._text)}

    def read(self) -> Mapping[str, str]:
        """The text of each split, by position."""
        return by_position(self._text)
