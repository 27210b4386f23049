"""The environment variables of a run's process, set here alone, once, when a run begins."""

from __future__ import annotations

import os
from pathlib import Path

from study.run.local_ray import missing_token, temporary_folder
from trainers.trial.ray_worker import WORKER_ENVIRONMENT

_ROOT = Path(__file__).resolve().parents[2]
#: MLflow's client by default waits two minutes for an answer, tries eight times, and prints two
#: lines for every run that ends.
_MLFLOW = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_TUNE = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    # It would end the run as if all had been done.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}


def prepare(*, starts_ray: bool) -> None:
    """Set the variables of MLflow and Tune, and of Ray where the run `starts_ray` on this machine.

    The user's own settings of MLflow stay. Processes of a local Ray inherit the environment; a
    runtime environment would cost each of them a start of its own. Raises SpecError, and sets
    nothing, where no folder will do for such a Ray.
    """
    if starts_ray:
        temporary_folder()
    for name, value in _MLFLOW.items():
        os.environ.setdefault(name, value)
    os.environ |= _TUNE
    if not starts_ray:
        return
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if str(_ROOT) not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), *paths]))
    os.environ |= WORKER_ENVIRONMENT
    token = missing_token()
    if token is not None:
        os.environ["RAY_AUTH_TOKEN"] = token
