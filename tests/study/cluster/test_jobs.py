"""Jobs of a cluster: what is refused before anything travels, what is sent, and how to go on."""

from __future__ import annotations

import shlex
import socket
import time
from types import SimpleNamespace
from typing import Any

import pytest
import ray.job_submission

from study.cluster.jobs import Jobs
from study.cluster.places import check_places
from study.errors import SpecError
from tests.helpers.command_line import Archprior


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a dashboard that nobody serves, which is that of all commands."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", address)
    return address


class Cluster:
    """Ray's client, of a cluster that keeps the jobs it is given; each stops when it is told."""

    def __init__(self) -> None:
        self.jobs: dict[str, SimpleNamespace] = {}

    def submit_job(self, *, entrypoint: str, submission_id: str, **given: Any) -> str:
        self.jobs[submission_id] = SimpleNamespace(
            submission_id=submission_id, entrypoint=entrypoint, status="RUNNING", message="",
            start_time=None, **given,
        )  # fmt: skip
        return submission_id

    def list_jobs(self) -> list[SimpleNamespace]:
        return [*self.jobs.values()]

    def get_job_info(self, identifier: str) -> SimpleNamespace:
        return self.jobs[identifier]

    def stop_job(self, identifier: str) -> None:
        self.jobs[identifier].status = "STOPPED"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The cluster of all addresses."""
    made = Cluster()
    monkeypatch.setattr(ray.job_submission, "JobSubmissionClient", lambda _address: made)
    return made


def test_a_silent_dashboard_is_not_waited_for() -> None:
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(SpecError, match=rf"--address: http://{address}: no .*: no answer in 4"):
            Jobs(address)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--store rel", "--store: 'rel' is relative to a folder of this machine"),
        ("--store s3://a:sekret@b/c", "--store: it holds a secret"),
        ("--store s3://[b", "--store: 's3://[b' is no URI: Invalid IPv6 URL"),
        ("--store /s --tracking-uri ./mlruns", "--tracking-uri: './mlruns' is relative"),
        ("--store /s --address auto", "--address: 'auto' is no dashboard"),
        ("--store /s --address ray://head:10001", "--address: 'ray://head:10001' is no dashboard"),
        ("--store /s --address http://[b", "--address: 'http://[b' is no dashboard"),
    ],
)
def test_what_is_wrong_is_said_without_a_cluster(
    archprior: Archprior, options: str, message: str
) -> None:
    status, _, err = archprior("submit", "quickstart", *options.split())
    assert (status, err.startswith(f"error: {message}"), err.count("\n")) == (2, True, 1), err
    assert "sekret" not in err


def test_an_address_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "auto")
    with pytest.raises(SpecError, match="RAY_API_SERVER_ADDRESS: 'auto' is no dashboard"):
        Jobs()


@pytest.mark.parametrize(
    "uri",
    [
        "", "mlruns", "./mlruns", "~/mlruns", "file:rel", "file:./rel", "file://rel",
        "sqlite:///rel.db", "sqlite+pysqlite:///rel.db", "sqlite://",
    ],
)  # fmt: skip
def test_a_relative_mlflow_is_refused(uri: str) -> None:
    with pytest.raises(SpecError, match=r"--tracking-uri: .* is relative to a folder of the job"):
        check_places("/store", uri)


@pytest.mark.parametrize(
    "uri",
    [
        None, "http://head:5000", "/mlruns", "file:/mlruns", "file:///mlruns", "databricks",
        "databricks://profile", "sqlite:////mlflow.db", "sqlite+pysqlite:////mlflow.db",
        "postgresql://team@db/mlflow",
    ],
)  # fmt: skip
def test_an_mlflow_that_all_nodes_find_is_taken(uri: str | None) -> None:
    check_places("/store", uri)


@pytest.mark.parametrize(
    "uri",
    [
        "https://tok3n@h/", "http://ann:pw@h", "https://h/?token=abc", "postgresql://u:p@h/db",
        "postgresql://h/db?user=u&sslpassword=zz", "postgresql://u:p/w@h/db",
    ],
)  # fmt: skip
def test_a_secret_is_refused(uri: str) -> None:
    with pytest.raises(SpecError, match="--tracking-uri: it holds a secret") as raised:
        check_places("/store", uri)
    assert uri not in str(raised.value)


def test_a_secret_in_a_variable_that_would_travel_is_refused(
    cluster: Cluster, archprior: Archprior, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://ann:sekret@minio:9000")
    status, _, err = archprior("submit", "quickstart", "--store", "/store")
    assert (status, cluster.jobs) == (2, {})
    assert err.startswith("error: AWS_ENDPOINT_URL: it holds a secret, ")
    assert "sekret" not in err


def test_no_password_is_printed(archprior: Archprior, cluster: Cluster) -> None:
    # Nobody listens on port 9 of this machine.
    at = ["--address", "http://ann:sekret@127.0.0.1:9"]
    status, out, err = archprior("submit", "quickstart", "--store", "/store", *at)
    assert (status, err) == (0, "")
    assert " to http://***@127.0.0.1:9\n" in out
    # As an earlier version took it.
    (job,) = cluster.jobs.values()
    job.metadata["archprior_store"] = "https://h/store?sig=sekret"
    job.message = "OSError: https://h/store?sig=sekret"
    for command in ("list", "status", "stop"):
        words = [] if command == "list" else ["quickstart"]
        status, more, err = archprior("jobs", command, *words, *at)
        assert (status, err) == (0, "")
        out += more
    assert out.count("https://h/store?sig=***") == 2
    assert "sekret" not in out


@pytest.mark.parametrize("store", ["file:rel", "file://rel", "", "~/store"])
def test_a_relative_store_is_refused(store: str) -> None:
    with pytest.raises(SpecError, match=r"--store: .* is relative"):
        check_places(store, None)


def test_who_stops_a_job_is_told_how_to_go_on_as_it_was(
    archprior: Archprior, cluster: Cluster
) -> None:
    options = ["--store", "/the store", "--tracking-uri", "http://head:5000", "--wait", "5"]
    options += ["--grace", "300"]
    status, _, err = archprior("submit", "quickstart", *options)
    assert status == 0, err
    status, out, _ = archprior("jobs", "stop", "quickstart")
    assert status == 0
    assert f"archprior submit SPEC {shlex.join(options)} goes on from there" in out
    (job,) = cluster.jobs.values()
    assert job.runtime_env["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"] == "360"
    assert job.entrypoint.endswith(f"--address auto {shlex.join(options)}")
