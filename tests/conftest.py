"""What all tests share: MLflow keeps quiet, and sends nothing anywhere; real servers."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.mlflow_server import Server
from tests.helpers.postgres import Postgres

# Set before MLflow is imported, here and in the processes that tests start.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Before cuBLAS is first used: see `trainers.runtime.precision`.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


#: Fixtures and folders of tests that start processes.
_STARTING = {"groups", "server", "own_server", "postgres"}
_FAULTS = Path(__file__).parent / "faults"
_SLOW_SECONDS = 1500


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that start processes by a fixture, and all of faults, need no mark of their own.

    Slow ones may take long, too, where a machine has other work: what hangs is ended later.
    """
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_SLOW_SECONDS))
        if _FAULTS in item.path.parents or _STARTING & {*getattr(item, "fixturenames", ())}:
            item.add_marker("processes")


def pytest_configure(config: pytest.Config) -> None:
    """Tests are of the CPU, on a machine with GPUs too, but for those marked `gpu`."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Shells start what is to run in the background with signals ignored, and so would be the
        # processes of tests, which are about what signals do.
        if signal.getsignal(signum) is signal.SIG_IGN:
            default = signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL
            signal.signal(signum, default)
    marks = str(config.getoption("markexpr"))
    if "gpu" not in marks or "not gpu" in marks:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


# What tests prepare is theirs, in processes that they start too.
_CACHE = tempfile.TemporaryDirectory(prefix="archprior-tests-")
os.environ.setdefault("ARCHPRIOR_CACHE", _CACHE.name)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an MLflow server that all tests share."""
    made = Server(tmp_path_factory.mktemp("server"))
    made.start()
    yield made.url
    made.kill(15)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """An MLflow server of a test's own, not started yet."""
    folder = tmp_path / "server"
    folder.mkdir()
    made = Server(folder)
    yield made
    made.kill()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of the tests of one file, which are marked `needs_postgres`."""
    with Postgres() as found:
        yield found


@pytest.fixture
def no_imports() -> Iterator[None]:
    """Afterwards no module of a user is imported that was not before."""
    from trainers.extensions import user_modules

    before = user_modules.names_in_use()
    yield
    for name in user_modules.names_in_use():
        if name not in before:
            user_modules.forget(name)


@pytest.fixture
def registries() -> Iterator[None]:
    """Afterwards all registries are what they were."""
    from tests.helpers.registries import restored

    with restored():
        yield
