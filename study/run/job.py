"""A run that is a job of a Ray cluster, as Ray has told its process."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

#: Ray sets it in the process of a job, and in no other; it holds the job's runtime environment.
_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
#: Address by which the process of a job finds the cluster that it belongs to.
_OWN_CLUSTER = "auto"


def inside() -> bool:
    """Whether this process is a job of a Ray cluster, or was started by one."""
    return _CONFIG in os.environ


def address(given: str | None) -> str | None:
    """The address of a run's cluster: the `given` one, and by default in a job that of its own.

    None elsewhere: such a run starts a Ray on this machine.
    """
    return _OWN_CLUSTER if given is None and inside() else given


def variables() -> Mapping[str, str]:
    """Environment variables that the job gives to every process of the cluster."""
    config = json.loads(os.environ.get(_CONFIG, "{}"))
    found: Mapping[str, str] = config.get("runtime_env", {}).get("env_vars", {})
    return found
