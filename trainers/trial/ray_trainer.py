"""Ray Train's trainer, without a process that no trial here needs."""

from __future__ import annotations

from typing import Any

from ray.train.torch import TorchTrainer


class Trainer(TorchTrainer):  # type: ignore[misc]
    """Starts no manager of data sets: it has none of Ray Data.

    Train starts one for each trial all the same, a process that imports all of Ray.
    """

    def _create_default_callbacks(self) -> list[Any]:
        # By its name, so that a Ray without this class or this method is as it is.
        callbacks: list[Any] = super()._create_default_callbacks()
        return [each for each in callbacks if type(each).__name__ != "DatasetsCallback"]
