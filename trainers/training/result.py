"""The result of training a replicate."""

from __future__ import annotations

from dataclasses import dataclass

from trainers.architectures import Network
from trainers.store.tables import History


@dataclass(frozen=True, kw_only=True)
class Result:
    """A trained network with its metrics on the test split after the last step, and its history.

    `train_seconds` is the wall-clock time of training, evaluation and checkpoints.
    """

    replicate_id: str
    network: Network
    metrics: dict[str, float]
    history: History
    steps: int
    train_seconds: float
