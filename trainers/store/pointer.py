"""The pointer to a replicate's latest checkpoint, read without PyTorch."""

from __future__ import annotations

from typing import NamedTuple

from trainers.data import json_mapping
from trainers.store.folder import Written
from trainers.store.store import POINTER, Replicate

#: Format of the files; checkpoints of another format are ignored, and the replicate starts anew.
_FORMAT = 2


class Pointer(NamedTuple):
    """`checkpoint/latest.json`: the checkpoint's file, and a digest of the history up to its step.

    The digest is of the points, because the history's file grows with the next report.
    """

    step: int
    train_seconds: float
    file: str
    written: Written
    history: str
    format: int = _FORMAT

    @classmethod
    def of(cls, replicate: Replicate) -> Pointer | None:
        """That of a replicate; None without one of this format. Raises CorruptError."""
        try:
            fields = json_mapping.parse(replicate.folder.read(POINTER))
            if fields.get("format") != _FORMAT:
                return None
            found = cls(**fields | {"written": Written(*fields["written"])})
            if type(found.step) is not int or found.file != name_of(found.step):
                raise ValueError(f"step {found.step!r:.80} is not in {found.file!r:.80}")
            if type(found.train_seconds) not in (int, float):
                raise ValueError(f"train_seconds is {found.train_seconds!r:.80}")
            return found
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise replicate.corrupt(f"{POINTER} is damaged: {error}") from error


def name_of(step: int) -> str:
    """The file of a checkpoint."""
    return f"checkpoint/{step}.pt"


def saved_step(replicate: Replicate) -> int:
    """Number of steps at the latest checkpoint, 0 without one; raises CorruptError."""
    pointer = Pointer.of(replicate)
    return 0 if pointer is None else pointer.step
