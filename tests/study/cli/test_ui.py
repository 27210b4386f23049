"""`archprior ui`: MLflow's server on a store, and what a real browser shows of a study."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from mlflow import MlflowClient

from study import Study
from study.cli import ui as module
from study.errors import SpecError

pytestmark = pytest.mark.processes

ROOT = Path(__file__).resolve().parents[3]
#: With markup in a name, which has to be shown as text.
QUESTION = "<script>document.title = 'no'</script> **How much** of a ResNet's prior?"
SPEC: dict[str, Any] = {
    "name": "seen",
    "task": {"name": "translated_digits", "places": 1},
    "targets": [{"name": "fcn", "depth": 2, "width": 8}],
    "guides": [{"name": "resnet2d", "width": 2, "blocks": 1}],
    "states": ["untrained"],
    "controls": ["shuffled"],
    "seeds": 3,
    "train": {"steps": 6, "batch_size": 50, "report_every": 2},
}
SECONDS = 240


class Served:
    """`archprior ui` in a process of its own."""

    def __init__(self, store: Path, log: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url, self.log = f"http://127.0.0.1:{self.port}", log
        command = [sys.executable, "-m", "study", "ui", "--store", str(store), "--no-open"]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port)], cwd=store, env=environment,
                stdout=file, stderr=file, start_new_session=True,
            )  # fmt: skip

    def wait(self) -> None:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=5).close()
                return
            except OSError:
                time.sleep(0.2)
        raise AssertionError(self.log.read_text())

    def end(self, kind: int = signal.SIGINT) -> int:
        self.process.send_signal(kind)
        return self.process.wait(60)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ui") / "store"
    assert Study(**SPEC).run(store=folder, local=True).complete
    return folder


@pytest.fixture(scope="module")
def served(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    found = Served(store, tmp_path_factory.mktemp("log") / "log")
    try:
        found.wait()
        yield found
    finally:
        found.process.kill()
        found.process.wait()


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for screenshots: kept where ARCHPRIOR_SCREENSHOTS names one."""
    named = os.environ.get("ARCHPRIOR_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def page(served: Served) -> Iterator[Any]:
    """A page of a real browser that never saw MLflow."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = os.environ.get("ARCHPRIOR_CHROMIUM", "/usr/bin/chromium")
    with playwright.sync_playwright() as library:
        browser = library.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1700, "height": 1000})
        context.set_default_timeout(SECONDS * 1000)
        yield context.new_page()
        browser.close()


@pytest.fixture
def show(page: Any, served: Served, shots: Path) -> Callable[..., Any]:
    """Open an address, wait for a text, and keep a screenshot; gives the page."""

    def opened(address: str, text: str, name: str) -> Any:
        page.goto("about:blank")
        page.goto(f"{served.url}/{address}")
        page.get_by_text(text).first.wait_for()
        page.wait_for_timeout(2000)
        page.screenshot(path=shots / f"mlflow-{name}.png")
        assert (shots / f"mlflow-{name}.png").stat().st_size > 20_000
        return page

    return opened


@pytest.fixture(scope="module")
def client(served: Served) -> MlflowClient:
    return MlflowClient(tracking_uri=served.url)


@pytest.fixture(scope="module")
def experiment(client: MlflowClient) -> str:
    found = client.get_experiment_by_name("seen")
    assert found is not None
    return str(found.experiment_id)


def test_a_new_browser_opens_in_the_mode_of_model_training(show: Callable[..., Any]) -> None:
    page = show("", "seen", "home")
    page.get_by_role("link", name="seen", exact=True).first.click()
    page.get_by_role("button", name="Views").wait_for()
    page.get_by_role("heading", name="Runs", exact=True).wait_for()
    assert page.evaluate("localStorage.getItem('mlflow.workflowType_v1')") == '"machine_learning"'
    assert page.get_by_text("Evaluation runs").count() == 0
    # A later choice of the user's is kept.
    page.evaluate("localStorage.setItem('mlflow.workflowType_v1', '\"genai\"')")
    show("", "seen", "home-genai")
    assert page.evaluate("localStorage.getItem('mlflow.workflowType_v1')") == '"genai"'
    page.evaluate("localStorage.setItem('mlflow.workflowType_v1', '\"machine_learning\"')")


def test_the_list_has_one_row_and_its_columns_are_filled(
    show: Callable[..., Any], experiment: str
) -> None:
    page = show(f"#/experiments/{experiment}/runs", "matching runs", "list")
    assert page.get_by_text("translated_digits(places=1)").count()
    assert page.get_by_text("archprior", exact=False).count()
    # Study, 4 conditions, 12 replicates.
    assert page.get_by_text("17 matching runs").count() or page.get_by_text("17").count()


def test_the_view_lists_conditions_and_charts_their_bands(
    show: Callable[..., Any], experiment: str, shots: Path
) -> None:
    page = show(
        f"#/experiments/{experiment}/runs?viewStateShareKey=archprior-conditions",
        "fcn <- resnet2d untrained", "conditions",
    )  # fmt: skip
    for name in ("baseline fcn", "guide resnet2d", "fcn <- resnet2d untrained shuffled"):
        assert page.get_by_role("link", name=name, exact=True).count() == 1
    assert page.get_by_text("test/accuracy").count()
    page = show(
        f"#/experiments/{experiment}/runs?compareRunsMode=CHART"
        "&viewStateShareKey=archprior-conditions",
        "Curves with 95% intervals", "charts",
    )  # fmt: skip
    page.locator(".js-plotly-plot .scatterlayer .trace").first.wait_for()
    page.wait_for_timeout(3000)
    page.screenshot(path=shots / "mlflow-charts.png")
    # Four conditions, each with mean, lower and upper limit.
    lines = page.locator(".js-plotly-plot").first.locator(".scatterlayer .trace")
    assert lines.count() >= 4 * 3


def test_the_studys_page_has_its_description(
    show: Callable[..., Any], client: MlflowClient, experiment: str
) -> None:
    (run,) = client.search_runs([experiment], "tags.`archprior.kind` = 'study'")
    page = show(f"#/experiments/{experiment}/runs/{run.info.run_id}", "Child runs", "study")
    page.get_by_text("Gain in accuracy over the unguided target").wait_for()
    assert page.get_by_role("cell", name="resnet2d untrained").count()
    page = show(
        f"#/experiments/{experiment}/runs/{run.info.run_id}/artifacts/figures/matrix.png",
        "matrix.png", "figure",
    )  # fmt: skip
    assert page.locator("img").count()


def test_a_replicates_page(show: Callable[..., Any], client: MlflowClient, experiment: str) -> None:
    (run, *_) = client.search_runs([experiment], "tags.`archprior.kind` = 'replicate'")
    page = show(f"#/experiments/{experiment}/runs/{run.info.run_id}", "Parent run", "replicate")
    assert page.get_by_text(run.info.run_name).count()
    assert page.get_by_text("archprior run seen").count()


def test_the_search_of_the_page_is_that_of_the_documentation(
    show: Callable[..., Any], client: MlflowClient, experiment: str
) -> None:
    query = "params.target = 'fcn(depth=2,width=8)' and metrics.\"test/accuracy\" > 0.01"
    found = client.search_runs([experiment], query)
    # Three conditions and their nine replicates.
    assert len(found) == 3 + 9
    address = f"#/experiments/{experiment}/runs?searchFilter={quote(query)}"
    show(address, "matching runs", "search")


def test_markup_is_text_in_the_page(
    show: Callable[..., Any], client: MlflowClient, experiment: str
) -> None:
    from analysis import study_note, tables

    (run,) = client.search_runs([experiment], "tags.`archprior.kind` = 'study'")
    before = run.data.tags["mlflow.note.content"]
    store = Path(client.get_experiment(experiment).artifact_location.removeprefix("file://"))
    transfer = tables.load("seen", "transfer", store=store.parents[1])
    client.set_tag(run.info.run_id, "mlflow.note.content", study_note.note(QUESTION, transfer))
    page = show(f"#/experiments/{experiment}/runs/{run.info.run_id}", "Child runs", "markup")
    page.get_by_text("<script>document.title = 'no'</script> **How much** of").wait_for()
    assert page.title() != "no"
    client.set_tag(run.info.run_id, "mlflow.note.content", before)


def test_a_port_in_use_is_refused_with_one_that_is_free(
    served: Served, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SpecError, match=rf"--port: {served.port} is in use, .*; (\d+) is free"):
        module.ui(str(store), None, "127.0.0.1", served.port, open_browser=False)
    with pytest.raises(SpecError, match="cannot listen on"):
        module.ui(str(store), None, "no.such.host.invalid", 5000, open_browser=False)
    with pytest.raises(SpecError, match="is a server"):
        module.ui(str(store), served.url, "127.0.0.1", 5000, open_browser=False)


@pytest.mark.parametrize(("kind", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_and_nothing_else_is_said(
    kind: int, status: int, store: Path, tmp_path: Path
) -> None:
    found = Served(store, tmp_path / "log")
    try:
        found.wait()
        assert found.end(kind) == status
    finally:
        found.process.kill()
    said = found.log.read_text().split()
    assert said[:4] == [found.url, "(Ctrl-C", "ends", "it)"]
    assert said[4:] == ([] if status == 0 else ["interrupted"])
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", found.port))
