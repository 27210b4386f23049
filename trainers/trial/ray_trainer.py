"""Ray Train's trainer, whose helpers know their cluster and none of which is idle here."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import ray
from ray.train.torch import TorchTrainer

_ADDRESS = "RAY_ADDRESS"


class Trainer(TorchTrainer):  # type: ignore[misc]
    """Names the cluster to its processes, and starts no manager of data sets.

    When a controller dies, a helper of its gives back the resources of its workers; it asks for the
    controller at the cluster that RAY_ADDRESS names. Without that, it takes any Ray of the machine,
    and ends where there are several: the next controller then waits for ever, or loses its workers.

    Train starts a manager for each trial, a process that imports all of Ray, whose data sets no
    trial here has.
    """

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        # This process is the trial's own. Train hands on what its list names.
        os.environ[_ADDRESS] = ray.get_runtime_context().gcs_address
        # A Ray without this list is as it is.
        with suppress(ImportError, AttributeError):
            from ray.train.v2._internal import constants

            constants.ENV_VARS_TO_PROPAGATE.add(_ADDRESS)
        return super()._initialize_and_run_controller(**arguments)

    def _create_default_callbacks(self) -> list[Any]:
        # By its name, so that a Ray without this class or this method is as it is.
        callbacks: list[Any] = super()._create_default_callbacks()
        return [each for each in callbacks if type(each).__name__ != "DatasetsCallback"]
