"""Errors of specs and runs, with messages for a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from trainers.errors import UserError
from trainers.registry import UnknownNameError

_WORDS = {
    "missing": "is needed",
    "model_type": "give a mapping of keys to values",
}


class SpecError(UserError):
    """A spec that cannot be run; the message has a line for each mistake."""


class RunError(RuntimeError):
    """A run that could not do all its work; the message says why. Finished replicates stay."""


class OptionsError(ValueError):
    """Wrong options of an entry; `mistakes` has a line for each."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Lines of a validation error: field, mistake, given value, nearest known key."""
    return [line for mistake in error.errors(include_url=False) for line in _lines(mistake, model)]


def _lines(mistake: Any, model: type[BaseModel]) -> Iterator[str]:
    location, value = mistake["loc"], mistake["input"]
    cause = mistake.get("ctx", {}).get("error")
    if isinstance(cause, OptionsError):
        yield from (_at(location, line, ".") for line in cause.mistakes)
    elif mistake["type"] == "extra_forbidden":
        known = _fields_at(model, location[:-1])
        yield _at(location, str(UnknownNameError("key", location[-1], known)))
    else:
        message = _WORDS.get(mistake["type"], mistake["msg"].removeprefix("Value error, "))
        told = not location or mistake["type"] == "missing"
        told = told or (isinstance(value, str) and repr(value) in message)
        yield _at(location, message if told else f"{message} (got {value!r:.80})")


def _at(location: Sequence[int | str], message: str, separator: str = ": ") -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    path = "".join(parts).lstrip(".")
    return f"{path}{separator}{message}" if path else message


def _fields_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    for part in location:
        if part in model.model_fields:
            model = next(_models(model.model_fields[str(part)].annotation), model)
    return list(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
