"""The image and the manifests in docs/launch: what they name exists, and belongs together."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import typer
import yaml

from study.cli.app import app
from study.run.interrupts import GRACE_SECONDS

ROOT = Path(__file__).parents[3]
LAUNCH = ROOT / "docs" / "launch"
MANIFESTS = sorted((LAUNCH / "kubernetes").glob("*.yaml"))
Manifest = dict[str, Any]


def manifests(kind: str) -> list[Manifest]:
    found = [each for path in MANIFESTS for each in yaml.safe_load_all(path.read_text("utf-8"))]
    return [each for each in found if each["kind"] == kind]


def pods() -> Iterator[Manifest]:
    """The specs of all pods."""
    for each in (ray_cluster(), manifests("RayJob")[0]["spec"]["rayClusterSpec"]):
        for group in (each["headGroupSpec"], *each["workerGroupSpecs"]):
            yield group["template"]["spec"]
    for each in manifests("Deployment"):
        yield each["spec"]["template"]["spec"]


def ray_cluster() -> Manifest:
    (found,) = manifests("RayCluster")
    spec: Manifest = found["spec"]
    return spec


def packages() -> Manifest:
    content: Manifest = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return content


def instructions() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile with their arguments, each in one line."""
    text = (LAUNCH / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    parts = [line.partition(" ") for line in whole.splitlines() if line.strip()]
    return [(name, rest) for name, _, rest in parts]


def test_the_image_has_every_package_and_what_it_is_built_of() -> None:
    copied = [rest.split() for name, rest in instructions() if name == "COPY"]
    sources = {source for *from_, _to in copied for source in from_}
    assert all((ROOT / source).exists() for source in sources)
    found = packages()["tool"]["setuptools"]["packages"]["find"]["include"]
    tops = {each.removesuffix("*") for each in found}
    assert tops | {"pyproject.toml", "constraints.txt"} <= sources
    assert {packages()["project"]["readme"], *packages()["project"]["license-files"]} <= sources


def test_the_image_has_the_tested_versions_and_names_its_commit() -> None:
    needed, itself = [rest for name, rest in instructions() if "pip install" in rest]
    listing, _, install = needed.partition(" > requirements.txt && ")
    words = shlex.split(install)
    assert words[words.index("--constraint") + 1] == "constraints.txt"
    assert words[words.index("--requirement") + 1] == "requirements.txt"
    project = packages()["project"]
    extras = project["optional-dependencies"]
    found = subprocess.run(
        [sys.executable, *shlex.split(listing)[1:]],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    wanted = project["dependencies"] + extras["s3"] + extras["gcs"]
    assert found.stdout.splitlines() == wanted
    assert shlex.split(itself)[-2:] == ["--no-deps", "."]
    ((_, base),) = [each for each in instructions() if each[0] == "FROM"]
    assert base.startswith("python:3.11-")
    (facts,) = [rest for name, rest in instructions() if name == "ENV"]
    value = shlex.split(facts.replace("${GIT_COMMIT}", "abc"))[0].partition("=")[2]
    assert json.loads(value) == {"git_commit": "abc"}


def test_a_job_has_the_cluster_that_stays() -> None:
    (job,) = manifests("RayJob")
    assert job["spec"]["rayClusterSpec"] == ray_cluster()
    assert job["spec"]["shutdownAfterJobFinishes"] is True
    # What fails by itself would fail again; the store goes on when a person says so.
    assert job["spec"]["backoffLimit"] == 0


def test_the_cluster_is_of_the_tested_ray_and_asks_for_a_token() -> None:
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    cluster = ray_cluster()
    assert f"ray=={cluster['rayVersion']}" in constraints
    (secret,) = manifests("Secret")
    assert cluster["authOptions"] == {"mode": "token", "secretName": secret["metadata"]["name"]}
    # As KubeRay looks for it.
    assert [*secret["stringData"]] == ["auth_token"]


def test_gpu_workers_come_from_zero_and_the_head_trains_nothing() -> None:
    cluster = ray_cluster()
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    (group,) = cluster["workerGroupSpecs"]
    assert (group["replicas"], group["minReplicas"]) == (0, 0) < (group["maxReplicas"],)
    (container,) = group["template"]["spec"]["containers"]
    resources = container["resources"]
    assert resources["limits"] == resources["requests"]
    assert resources["limits"]["nvidia.com/gpu"] == "1"


def test_what_is_mounted_is_there() -> None:
    claims = {each["metadata"]["name"] for each in manifests("PersistentVolumeClaim")}
    used = set()
    for pod in pods():
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
            assert container["image"] == "CHANGE-ME/archprior:0.1.0"
        used |= {
            volume["persistentVolumeClaim"]["claimName"]
            for volume in volumes.values()
            if "persistentVolumeClaim" in volume
        }
    assert used == claims
    for pod in list(pods())[:2]:
        mounts = {each["mountPath"]: each["name"] for each in pod["containers"][0]["volumeMounts"]}
        assert {"/store", "/dev/shm"} <= mounts.keys()
        assert pod["terminationGracePeriodSeconds"] >= 2 * GRACE_SECONDS
    (shared,) = [
        each for each in manifests("PersistentVolumeClaim")
        if each["spec"]["accessModes"] == ["ReadWriteMany"]
    ]  # fmt: skip
    assert shared["metadata"]["name"] == "archprior-store"


def environment(group: Manifest) -> dict[str, str]:
    """Variables of the one container of a group of pods."""
    (container,) = group["template"]["spec"]["containers"]
    return {each["name"]: each["value"] for each in container.get("env", [])}


def test_ray_gives_a_driver_the_time_that_its_pod_has() -> None:
    cluster = ray_cluster()
    head, (workers,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    # Of the head's environment, since Ray takes it where the job's own says nothing.
    assert int(environment(head)["RAY_JOB_STOP_WAIT_TIME_S"]) >= 2 * GRACE_SECONDS
    for group in (head, workers):
        drain = int(environment(group)["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
        killed = group["template"]["spec"]["terminationGracePeriodSeconds"]
        assert GRACE_SECONDS + 30 <= drain <= killed - 10


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("RAY_JOB_STOP_WAIT_TIME_S", "dashboard/modules/job/job_supervisor.py"),
        ("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "_private/ray_constants.py"),
    ],
)
def test_the_tested_ray_reads_the_times(name: str, file: str) -> None:
    assert f'"{name}"' in (Path(ray.__file__).parent / file).read_text(encoding="utf-8")


def test_no_way_for_ray_client_is_offered() -> None:
    # Its drivers are deaf: Tune pickles the callbacks that hear signals and show progress.
    files = [ROOT / "cluster.yaml", *LAUNCH.rglob("*.yaml")]
    found = [path.name for path in files if re.search("10001|ray://", path.read_text("utf-8"))]
    assert found == []


def test_mlflow_is_where_the_study_looks_for_it() -> None:
    (service,), (deployment,) = manifests("Service"), manifests("Deployment")
    name, port = service["metadata"]["name"], service["spec"]["ports"][0]["port"]
    entrypoint = manifests("RayJob")[0]["spec"]["entrypoint"]
    assert f"--tracking-uri http://{name}:{port}" in entrypoint
    pod = deployment["spec"]["template"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    (container,) = pod["spec"]["containers"]
    assert container["ports"][0] == {"containerPort": port, "name": "http"}
    (allowed,) = [part for part in container["command"] if part.startswith("--allowed-hosts=")]
    assert f"{name}:*" in allowed
    # Two processes on one sqlite file would wait for each other.
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}


def commands() -> list[str]:
    """Commands of archprior in the launch files, in comments too."""
    files = [ROOT / "cluster.yaml", LAUNCH / "gcp.yaml", *MANIFESTS]
    lines = [line.lstrip("# ") for path in files for line in path.read_text("utf-8").splitlines()]
    return sorted({line for line in lines if re.match("archprior (run|submit|jobs)", line)})


def test_commands_are_found() -> None:
    assert {line.split()[1] for line in commands()} == {"run", "submit", "jobs"}


@pytest.mark.parametrize("line", commands())
def test_archprior_has_the_options_that_are_given(line: str) -> None:
    command: Any = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    assert command.make_context("archprior", words)
