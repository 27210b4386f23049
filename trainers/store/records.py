"""Typed content of a replicate's JSON files `result.json`, `failure.json` and `starts.json`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from sys import intern
from types import NoneType
from typing import Self

from trainers.data import json_mapping
from trainers.secrets import masked
from trainers.store.folder import Written

#: Types in JSON by the types of fields that are plain values.
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "str": str, "int": int, "float": (int, float), "float | None": (int, float, NoneType),
    "int | None": (int, NoneType), "Mapping[str, float]": dict, "tuple[str, ...]": list,
}  # fmt: skip


def _is(value: object, kind: type | tuple[type, ...]) -> bool:
    # For Python, true and false are integers, and integers of JSON have any size.
    odd = isinstance(value, bool) or (isinstance(value, int) and abs(value) >= 2**63)
    return isinstance(value, kind) and not odd


class _Record:
    """A dataclass that is one JSON file."""

    def encode(self) -> bytes:
        """The record as JSON bytes."""
        content = dataclasses.asdict(self)  # type: ignore[call-overload]
        return json.dumps(content, indent=1, sort_keys=True).encode()

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """The record that `encode` wrote; raises ValueError if it is damaged or lacks a field.

        Unknown fields, of another version, are ignored.
        """
        fields = json_mapping.parse(content)
        kinds = {f.name: str(f.type) for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        for name in kinds.keys() & fields.keys():
            if not _is(fields[name], _TYPES.get(kinds[name], object)):
                raise ValueError(f"{name} is {fields[name]!r:.80}, no {kinds[name]}")
        try:
            return cls(**{name: value for name, value in fields.items() if name in kinds})
        except (AttributeError, TypeError) as error:
            raise ValueError(str(error)) from error


@dataclass(frozen=True, kw_only=True)
class ResultRecord(_Record):
    """A finished replicate.

    `metrics` are of the test split. `train_seconds` is the wall-clock time of training, evaluation
    and checkpoints, `train_cpu_seconds` the CPU time of the process that finished it, for measuring
    overheads. `ended` is in seconds since 1970. `files` are sizes and digests by file name,
    `absent` those of files that this copy lacks: weights, where it was imported without.
    """

    metrics: Mapping[str, float]
    steps: int
    train_seconds: float
    torch_version: str
    device: str
    host: str
    data_fingerprint: str
    ended: float
    train_cpu_seconds: float | None = None
    files: Mapping[str, Written] = field(default_factory=dict)
    absent: Mapping[str, Written] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not all(_is(value, (int, float)) for value in self.metrics.values()):
            raise TypeError("metrics are no numbers")
        for name in ("files", "absent"):
            files = {intern(path): Written(*entry) for path, entry in getattr(self, name).items()}
            if not all(_is(each.size, int) and _is(each.digest, str) for each in files.values()):
                raise TypeError(f"{name} have no sizes and digests")
            object.__setattr__(self, name, files)
        # A driver holds thousands of records, which repeat these.
        for name in ("torch_version", "device", "host", "data_fingerprint"):
            object.__setattr__(self, name, intern(str(getattr(self, name))))
        metrics = {intern(name): value for name, value in self.metrics.items()}
        object.__setattr__(self, "metrics", metrics)


@dataclass(frozen=True, kw_only=True)
class FailureRecord(_Record):
    """A replicate that failed, without secrets in its texts; `time` is in seconds since 1970."""

    error: str
    traceback: str
    time: float

    def __post_init__(self) -> None:
        # When it is read, too: earlier versions wrote texts as they were raised.
        for name in ("error", "traceback"):
            object.__setattr__(self, name, masked(getattr(self, name)))


@dataclass(frozen=True, kw_only=True)
class StartsRecord(_Record):
    """Starts of a replicate from the checkpoint of `step`, in one driver's `run`.

    `faults` says of those after which a process died by its own fault what that was; `faulty` is
    the number of the last of them, counted from 1.
    """

    run: str
    step: int
    count: int = 0
    faults: tuple[str, ...] = ()
    faulty: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "faults", tuple(self.faults))
