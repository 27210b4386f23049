"""Ray for the time of a run, started in a thread beside other work."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from study.errors import RunError, SpecError
from study.run import cluster_port, job
from study.run.head_watch import HeadWatch
from study.run.local_ray import ended_at_once, temporary_folder
from trainers.data import data_root, machine_cache
from trainers.extensions.code_digest import PACKAGES
from trainers.secrets import holds_secret
from trainers.store import outages
from trainers.trial.ray_worker import WORKER_ENVIRONMENT

_ROOT = Path(__file__).resolve().parents[2]
_VARIABLES = (
    data_root.VARIABLE, machine_cache.VARIABLE, outages.VARIABLE,
    "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE",
)  # fmt: skip


#: Seconds to leave a cluster, and one that has not answered yet; after that it is not waited for.
_LEAVE_SECONDS, _GIVE_UP_SECONDS = 60.0, 2.0


class RaySession:
    """Ray on this machine, or the cluster at `address`, which gets the user's `modules`.

    Entering the context begins the start; the future `up` is done when Ray is up, or holds the
    exception that prevented it. `end`, or leaving the context, ends Ray, unless this process had
    started it before: then it is used, and left running. Without an address Ray is otherwise
    started afresh: a bare `ray.init()` would join any cluster that it finds. Its processes inherit
    the environment, so call `environment.prepare` before.
    """

    def __init__(self, address: str | None, modules: Sequence[str]) -> None:
        self.address = address
        self.up: Future[None] = Future()
        self._modules = modules
        self._over = threading.Event()
        self._head: HeadWatch | None = None
        # One thread from start to end: Linux ends Ray's processes with the thread that made them.
        self._thread = threading.Thread(target=self._live, name="ray", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def watch(self, say: Callable[[str], object], end: Callable[[int], object]) -> None:
        """Watch whether the head is there until the end; arguments are those of `HeadWatch`."""
        import ray

        self._head = HeadWatch(ray.get_runtime_context().gcs_address, say, end)

    def end(self) -> None:
        """Leave the cluster, or stop the Ray that was started.

        Ray tries for a quarter of an hour to reach a cluster that has gone, and cannot be told to
        stop that. The thread is left to it: unlike a Ray of this machine, nothing is lost there.
        """
        if self._head is not None:
            self._head.stop()
        if not self._over.is_set():
            # Cycles that Tune leaves hold objects of Ray: freed here while Ray's thread shuts it
            # down, they end the process. So they are freed before, and nothing runs here meanwhile.
            gc.collect()
            gc.unfreeze()
        self._over.set()
        leave = _LEAVE_SECONDS if self.up.done() else _GIVE_UP_SECONDS
        self._thread.join(None if self.address is None else leave)

    def _live(self) -> None:
        # Processes started from here on never see these signals, nor do those that they start. A
        # closed terminal, `timeout` and service managers send them to all processes at once: Ray
        # would be gone before trials can stop at a checkpoint. Of SIGINT Ray sees to that itself.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
        with ExitStack() as ending:
            try:
                # Within the block, because the driver waits for `up` if this import fails too.
                import ray

                if not ray.is_initialized():
                    ending.callback(_shut_down)
                    self._connect()
            except BaseException as error:
                self.up.set_exception(error)
            else:
                self.up.set_result(None)
                self._over.wait()

    def _connect(self) -> None:
        import ray
        from ray.exceptions import AuthenticationError

        if self.address is None:
            self._start()
            return
        cluster_port.check_answer(self.address)
        try:
            ray.init(
                address=self.address, runtime_env=self._environment(), log_to_driver=False,
                logging_level="error",
            )  # fmt: skip
        except (AuthenticationError, ConnectionError, ValueError, RuntimeError) as error:
            raise SpecError(f"--address: {self.address!r}: {no_answer(error)}") from error

    def _environment(self) -> dict[str, Any]:
        """Runtime environment of workers: a job has given its own to them, files included."""
        variables = WORKER_ENVIRONMENT | data_variables()
        if job.inside():
            given = job.variables()
            return {"env_vars": {k: v for k, v in variables.items() if k not in given}}
        modules = [*(str(_ROOT / package) for package in PACKAGES), *self._modules]
        return {"env_vars": variables, "py_modules": modules}

    def _start(self) -> None:
        import ray

        folder = temporary_folder()
        try:
            ray.init(address="local", log_to_driver=False, logging_level="error", _temp_dir=folder)
        except Exception as error:
            # Ray raises bare exceptions where its processes die or take longer than it waits.
            raise RunError(
                f"Ray did not start on this machine: {error} Its logs are in {folder or '/tmp/ray'}"
                "/session_latest/logs; --local trains without Ray"
            ) from error


def _shut_down() -> None:
    import ray

    with ended_at_once():
        ray.shutdown()


def data_variables() -> dict[str, str]:
    """The driver's variables that say where data and store are: they are the same on every node."""
    return public_variables(_VARIABLES)


def public_variables(names: Iterable[str]) -> dict[str, str]:
    """Those of the variables that are set, for processes of a cluster.

    Raises SpecError where one holds a secret: Ray shows them to all who see its dashboard.
    """
    found = {name: os.environ[name] for name in names if name in os.environ}
    for name, value in found.items():
        if holds_secret(value):
            raise SpecError(
                f"{name}: it holds a secret, which Ray's dashboard would show to all: leave it "
                "out, and give nodes a role or a credentials file"
            )
    return found


def no_answer(error: Exception) -> str:
    """Why a Ray cluster did not take this process, in one line, and what to set."""
    text = " ".join(str(error).split()) or type(error).__name__
    token = "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to a copy of the head's ~/.ray/auth_token"
    if "auth" in text.lower():
        return (
            f"the Ray cluster refuses this process ({text}): set {token}; a cluster without "
            "authentication wants RAY_AUTH_MODE=disabled"
        )
    if isinstance(error, OSError):
        # Ray's own client does not tell a refusal from silence.
        return f"no Ray cluster answers there: {text}; if it asks for a token, set {token}"
    return f"the Ray cluster does not take this process: {text}"
