"""Tables and report of a run: by a process of their own, and by the driver where that fails."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Timer

import psutil
import pytest

import analysis
from analysis.errors import NotWrittenWarning
from analysis.schema import SCHEMAS
from study import Study
from study.plan.progress import Progress
from study.run.interrupts import Interruption, Interrupts
from study.run.results import Results
from study.run.table_process import TableProcess
from tests.study.conftest import SPEC, Trained
from trainers.store.store import Store

pytestmark = pytest.mark.processes


def uri_of(store: Path) -> str:
    return f"sqlite:///{store}/mlflow.db"


def table_processes() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    return [each for each in children if "study.run.table_process" in each.cmdline()]


@pytest.fixture(scope="module")
def ran_once(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = Path(shutil.copytree(trained.folder, tmp_path_factory.mktemp("ran") / "store"))
    Study(**SPEC).run(store=store, local=True)
    folder = store / "studies" / "small"
    for path in [*folder.glob("*.parquet"), folder / "report.html"]:
        if path.stem in SCHEMAS or path.suffix == ".html":
            path.unlink()
    return store


@pytest.fixture
def ran(ran_once: Path, tmp_path: Path) -> Path:
    """A store with a study that has run, without its tables and report."""
    return Path(shutil.copytree(ran_once, tmp_path / "store"))


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def process(ran: Path, said: list[str]) -> Iterator[TableProcess]:
    made = TableProcess("small", Store(ran), uri_of(ran), said.append)
    made.start()
    yield made
    made.stop()
    assert table_processes() == []


@pytest.fixture
def results(ran: Path, said: list[str]) -> Iterator[Results]:
    progress = Progress(Study(**SPEC).plan(), Store(ran))
    with ThreadPoolExecutor() as executor:
        made = Results(progress, uri_of(ran), said.append, executor, apart=True)
        yield made
        made.stop()
    assert table_processes() == []


def test_tables_and_report_are_those_of_this_process(
    ran: Path, said: list[str], process: TableProcess
) -> None:
    names = process.tables()
    folder = ran / "studies" / "small"
    apart = {path.stem: path.read_bytes() for path in folder.glob("*.parquet")}
    assert names is not None
    assert {*names} == apart.keys() & {*SCHEMAS}
    assert process.report() == (str(folder / "report.html"),)
    assert "data-refresh" not in (folder / "report.html").read_text(encoding="utf-8")
    here = analysis.analyze("small", store=ran, tracking_uri=uri_of(ran))
    assert [*here] == names
    for name in names:
        assert analysis.load("small", name, store=ran).equals(here[name])
    # They follow from the same files, so that nothing was written anew.
    assert {path.stem: path.read_bytes() for path in folder.glob("*.parquet")} == apart
    assert said == []


def test_what_mlflow_did_not_take_is_warned_of_here(ran: Path, said: list[str]) -> None:
    process = TableProcess("small", Store(ran), f"sqlite:///{ran}/absent/mlflow.db", said.append)
    process.start()
    with pytest.warns(NotWrittenWarning, match="tables are not in MLflow"):
        assert process.tables() is not None
    process.stop()


def test_nobody_sees_a_password(ran: Path) -> None:
    uri = "http://me:secret-word@127.0.0.1:9"
    process = TableProcess("small", Store(ran), uri, print)
    process.start()
    (running,) = table_processes()
    assert "secret-word" not in " ".join(running.cmdline())
    process.stop()


def test_the_driver_makes_what_a_killed_process_did_not(
    ran: Path, said: list[str], results: Results
) -> None:
    results.prepare(nothing_left=True)
    table_processes()[0].kill()
    tables = results.tables(Interrupts())
    assert set(tables["replicates"]["status"]) == {"finished", "failed", "blocked"}
    assert results.report() == str(ran / "studies" / "small" / "report.html")
    assert said == ["warning: the process for tables has ended (-9): made here"]


def test_the_driver_names_damaged_files(ran: Path, said: list[str], results: Results) -> None:
    progress = Progress(Study(**SPEC).plan(), Store(ran))
    finished = next(i for i, state in progress.states.items() if state.status == "finished")
    (ran / "replicates" / finished / "history.parquet").write_bytes(b"nonsense")
    tables = results.tables(Interrupts())
    assert list(tables["replicates"]["status"]).count("missing") >= 1
    (line,) = said
    assert finished in line
    assert line.endswith("run the study again to train it anew")


def test_a_signal_ends_the_wait_and_the_process(results: Results) -> None:
    with Interrupts() as interrupts:
        Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(Interruption):
            results.tables(interrupts)


_DRIVER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from study import Study
from study.plan.progress import Progress
from study.run.interrupts import Interrupts
from study.run.results import Results
from tests.study.conftest import SPEC, Trained
from trainers.store.store import Store
store = Store(sys.argv[1])
progress = Progress(Study(**SPEC).plan(), store)
with ThreadPoolExecutor() as executor:
    uri = f"sqlite:///{sys.argv[1]}/mlflow.db"
    results = Results(progress, uri, print, executor, apart=True)
    print(len(results.tables(Interrupts())["transfer"]), results.report())
    results.stop()
import study.cli.running
assert not {"matplotlib", "jinja2", "scipy.stats"} & {*sys.modules}
"""


def test_the_driver_imports_nothing_to_draw(ran: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _DRIVER, ran], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1] == str(ran / "studies" / "small" / "report.html")
