"""The sentence that a person would say of a guided row of the `transfer` table."""

from analysis.sentences.guided_rows import sentence, sentences

__all__ = ["sentence", "sentences"]
