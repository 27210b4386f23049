"""Errors of specs and runs, with messages for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from trainers.errors import UserError
from trainers.registry import Component, UnknownNameError

_WORDS = {
    "missing": "is needed",
    "model_type": "give a mapping of keys to values",
}


class SpecError(UserError):
    """A spec that cannot be run; the message has a line for each mistake."""


class PartError(SpecError):
    """An entry of a block that cannot be used: a `component` of one of its `keys`."""

    def __init__(self, keys: Sequence[str], component: Component, message: str) -> None:
        super().__init__(message)
        self.keys, self.component = keys, component


class RunError(RuntimeError):
    """A run that could not do all its work; the message says why. Finished replicates stay."""


class OptionsError(ValueError):
    """Wrong options of an entry; `mistakes` has a line for each."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


def explain(error: ValidationError, model: type[BaseModel], written: Any) -> list[str]:
    """Lines of a validation error: field, mistake, given value, nearest known key.

    `written` is the content that was validated: where it has a single value for a list of one, no
    index is named.
    """
    mistakes = error.errors(include_url=False)
    return [line for mistake in mistakes for line in _lines(mistake, model, written)]


def _lines(mistake: Any, model: type[BaseModel], written: Any) -> Iterator[str]:
    tagged, value = mistake["loc"], mistake["input"]
    location = as_written([part for part in tagged if not is_tag(part)], written)
    cause = mistake.get("ctx", {}).get("error")
    if isinstance(cause, OptionsError):
        yield from (at(location, line, ".") for line in cause.mistakes)
    elif mistake["type"] == "extra_forbidden":
        known = _fields_at(model, tagged[:-1])
        yield at(location, str(UnknownNameError("key", location[-1], known)))
    else:
        message = _WORDS.get(mistake["type"], mistake["msg"].removeprefix("Value error, "))
        told = not location or mistake["type"] == "missing"
        told = told or (isinstance(value, str) and repr(value) in message)
        yield at(location, message if told else f"{message} (got {value!r:.80})")


def as_written(location: Sequence[int | str], written: Any) -> list[int | str]:
    """A location without the indices of lists that are single values in what was written."""
    kept: list[int | str] = []
    for place, part in enumerate(location):
        if isinstance(part, int):
            if not isinstance(written, list | tuple) or part >= len(written):
                continue
            # Of a list in place of a list of lists, the second index is the written one.
            inner = isinstance(next(iter(location[place + 1 :]), None), int)
            if inner and not isinstance(written[part], list | tuple):
                continue
            written = written[part]
        else:
            written = written.get(part) if isinstance(written, Mapping) else None
        kept.append(part)
    return kept


def at(location: Sequence[int | str], message: str = "", separator: str = ": ") -> str:
    """A location in a spec, `targets[0].depth`, and a message on what is there."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    path = "".join(parts).lstrip(".")
    return f"{path}{separator}{message}" if path and message else path or message


def tag(model: type[BaseModel]) -> str:
    """The tag of a model in a union of several, which messages leave out."""
    return f"<{model.__name__}>"


def is_tag(part: int | str) -> bool:
    """Whether a part of a location is the tag of a model, not a key."""
    return str(part).startswith("<")


def _fields_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    inner: list[type[BaseModel]] = []
    for part in location:
        if is_tag(part):
            model = next((each for each in inner if tag(each) == part), model)
        elif part in model.model_fields:
            inner = list(_models(model.model_fields[str(part)].annotation))
            model = inner[0] if inner else model
    return list(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
