"""The cluster launcher files, checked offline: Ray's schema, its own checks, and what we need."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
import yaml
from ray.autoscaler import sdk
from ray.scripts.scripts import cli as ray_cli

ROOT = Path(__file__).parents[3]
RAY = Path(ray.autoscaler.__file__).parent
FILES = {"aws": ROOT / "cluster.yaml", "gcp": ROOT / "docs" / "launch" / "gcp.yaml"}
COMMANDS = ("setup_commands", "head_setup_commands", "head_start_ray_commands",
            "worker_start_ray_commands")  # fmt: skip

#: A program of a node, by whatever name: it logs its call, and leaves what the real one would.
STUB = """#!/bin/sh
name=$(basename "$0")
echo "$name $*" >> "$HOME/calls"
case "$name $*" in
    "python3.11 -m venv "*)
        mkdir -p "$3/bin"
        for each in python ray mlflow; do cp "$0" "$3/bin/$each"; done ;;
    "python -m pip install --constraint "*)
        test -f "$5" || exit 1
        case "$*" in
            *--editable*) test -f pyproject.toml && cp "$0" "$HOME/venv/bin/archprior" ;;
            *) touch "$HOME/client" ;;
        esac ;;
    "python -c import "*) test -e "$HOME/client" ;;
    "mlflow server "*) touch "$HOME/served" ;;
    "curl "*) test -e "$HOME/served" ;;
esac
"""


class Node:
    """A new machine of a cluster: a home with our files, and stubs for whatever acts on more."""

    def __init__(self, home: Path) -> None:
        self.home, stubs = home, home / "stubs"
        stubs.mkdir(parents=True)
        for name in ("sudo", "python3.11", "curl"):
            (stubs / name).write_text(STUB)
            (stubs / name).chmod(0o755)
        (home / ".bashrc").write_text("# Of the image\n")
        (home / "archprior").mkdir()
        for name in ("pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, home / "archprior")
        self._environment = {
            "HOME": str(home), "PATH": f"{stubs}{os.pathsep}/usr/bin{os.pathsep}/bin",
            "RAY_HEAD_IP": "10.0.0.7",
        }  # fmt: skip

    def walk(self, config: dict[str, Any], *kinds: str) -> list[str]:
        """Run commands as Ray runs them; returns the calls of programs that they made."""
        log = self.home / "calls"
        log.write_text("")
        for command in (command for kind in kinds for command in config[kind]):
            done = subprocess.run(
                ["bash", "-c", f"source ~/.bashrc && ({command})"],
                env=self._environment, cwd=self.home, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, command + done.stderr
            if "mlflow server" in command:
                # In the background, and logged before it is up.
                deadline = time.monotonic() + 30
                while not (self.home / "served").exists():
                    assert time.monotonic() < deadline, command
                    time.sleep(0.05)
        return log.read_text().replace(str(self.home), "~").splitlines()


@pytest.fixture(params=FILES)
def config(request: pytest.FixtureRequest) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(FILES[request.param].read_text(encoding="utf-8"))
    assert content["provider"]["type"] == request.param
    return content


def check(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration as `ray up` prepares it, with its provider's defaults, not its client."""
    jsonschema.validate(config, json.loads((RAY / "ray-schema.json").read_text(encoding="utf-8")))
    provider = config["provider"]["type"]
    defaults = yaml.safe_load((RAY / provider / "defaults.yaml").read_text(encoding="utf-8"))
    offline = {"type": "external", "module": "ray.autoscaler.node_provider.NodeProvider"}
    prepared: dict[str, Any] = sdk.bootstrap_config(
        defaults | copy.deepcopy(config) | {"provider": offline}, no_config_cache=True
    )
    return prepared


def test_ray_accepts_it(config: dict[str, Any]) -> None:
    prepared = check(config)
    head = prepared["available_node_types"][prepared["head_node_type"]]
    assert (head["min_workers"], head["max_workers"]) == (0, 0)


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c["available_node_types"]["gpu_worker"].pop("resources"),
        lambda c: c["available_node_types"]["gpu_worker"]["resources"].update(GPU=0.5),
        lambda c: c["available_node_types"]["gpu_worker"].update(min_workers=9),
        lambda c: c.update(head_node_type="no such type"),
        lambda c: c.update(setup_command=[]),
    ],
)
def test_the_checks_see_damage(
    config: dict[str, Any], damage: Callable[[dict[str, Any]], object]
) -> None:
    damage(config)
    with pytest.raises((ValueError, jsonschema.ValidationError)):
        check(config)


def test_gpu_workers_come_and_go(config: dict[str, Any]) -> None:
    workers = {k: v for k, v in config["available_node_types"].items() if v["resources"].get("GPU")}
    assert config["head_node_type"] not in workers
    assert sum(kind["min_workers"] for kind in workers.values()) == 0
    assert sum(kind["max_workers"] for kind in workers.values()) == config["max_workers"] == 8


def test_every_node_installs_the_tested_versions(config: dict[str, Any]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "--constraint constraints.txt" in makefile
    for kind in ("setup_commands", "head_setup_commands"):
        installs = [line for line in config[kind] if "pip install" in line]
        assert installs
        assert all("constraints.txt" in line for line in installs)
    bucket = {"aws": "[s3]", "gcp": "[gcs]"}[config["provider"]["type"]]
    assert any(bucket in line for line in config["setup_commands"])


def test_what_is_mounted_is_this_repository_and_the_token(config: dict[str, Any]) -> None:
    token = config["file_mounts"].pop("/home/ubuntu/.ray/auth_token")
    assert token == "~/.ray/auth_token"
    for remote, local in config["file_mounts"].items():
        assert (ROOT / local / "pyproject.toml").is_file()
        assert any(Path(remote).name in line for line in config["setup_commands"])


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_shell_understands_the_commands(config: dict[str, Any], kind: str) -> None:
    for command in config[kind]:
        ran = subprocess.run(
            ["bash", "-n", "-c", command], capture_output=True, text=True, check=False
        )
        assert (ran.returncode, ran.stderr) == (0, ""), command


def test_ray_and_mlflow_have_the_options_that_are_given(config: dict[str, Any]) -> None:
    # MLflow's command line takes seconds to import, and warns.
    (folder,) = importlib.util.find_spec("mlflow").submodule_search_locations  # type: ignore
    texts = [Path(folder, name).read_text() for name in ("cli/__init__.py", "utils/cli_args.py")]
    known = {
        "start": {option for each in ray_cli.commands["start"].params for option in each.opts},
        "server": {option for text in texts for option in re.findall(r'"(--[a-z-]+)"', text)},
    }
    seen = set()
    for kind in COMMANDS:
        for command in config[kind]:
            words = shlex.split(command.replace("(", " ").replace(")", " "))
            for name in known.keys() & {*words}:
                given = words[words.index(name) + 1 :]
                options = {word.partition("=")[0] for word in given if word.startswith("--")}
                assert options <= known[name], options - known[name]
                seen.add(name)
    assert seen == known.keys()


def test_nodes_ask_for_the_token_and_mlflow_listens_on_the_head_alone(
    config: dict[str, Any],
) -> None:
    starts = [line for kind in COMMANDS for line in config[kind] if "ray start" in line]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in line for line in starts)
    (server,) = [line for line in config["head_start_ray_commands"] if "mlflow server" in line]
    assert "--host 127.0.0.1" in server
    assert server.endswith("&)")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "ubuntu")


#: Calls of a node that has never been one, `EXTRA` for the provider's.
FIRST = [
    "sudo apt-get update",
    "sudo apt-get install -y python3.11 python3.11-venv",
    "python3.11 -m venv ~/venv",
    "python -m pip install --constraint constraints.txt --editable .[EXTRA]",
]
JOIN = ["ray stop", "ray start --address=10.0.0.7:6379"]


def test_a_worker_is_set_up_once_and_joins_each_time(config: dict[str, Any], node: Node) -> None:
    extra = {"aws": "s3", "gcp": "gcs"}[config["provider"]["type"]]
    first = [line.replace("EXTRA", extra) for line in FIRST]
    kinds = ("setup_commands", "worker_start_ray_commands")
    assert node.walk(config, *kinds) == [*first, *JOIN]
    mounted = [node.home / "archprior" / name for name in ("pyproject.toml", "constraints.txt")]
    installed = node.home / "venv" / "installed"
    assert installed.read_text() == "".join(path.read_text() for path in mounted)
    bashrc = (node.home / ".bashrc").read_text()
    assert bashrc.splitlines()[:-1] == ["# Of the image"]

    assert node.walk(config, *kinds) == JOIN
    assert (node.home / ".bashrc").read_text() == bashrc
    # Other versions are installed once more, and nothing else.
    with mounted[1].open("a") as file:
        file.write("other==1\n")
    assert node.walk(config, *kinds) == [first[-1], *JOIN]
    assert installed.read_text().endswith("other==1\n")


def test_a_head_gets_its_client_and_one_mlflow(config: dict[str, Any], node: Node) -> None:
    module, package, bucket = {
        "aws": ("boto3", "boto3", "s3"),
        "gcp": ("googleapiclient", "google-api-python-client", "gs"),
    }[config["provider"]["type"]]
    client = f"python -c import {module}"
    start = [
        "ray stop",
        "curl --silent --fail http://127.0.0.1:5000/health",
        "ray start --head --port=6379 --autoscaling-config=~/ray_bootstrap_config.yaml "
        "--dashboard-host=127.0.0.1",
    ]
    kinds = ("setup_commands", "head_setup_commands", "head_start_ray_commands")
    calls = node.walk(config, *kinds)
    assert calls[len(FIRST) :] == [
        client,
        f"python -m pip install --constraint ~/archprior/constraints.txt {package}",
        *start[:2],
        "mlflow server --host 127.0.0.1 --port 5000 "
        "--backend-store-uri sqlite:////home/ubuntu/mlflow.db "
        f"--artifacts-destination {bucket}://CHANGE-ME/mlflow-artifacts",
        start[2],
    ]
    assert (node.home / "mlflow.log").is_file()
    assert node.walk(config, *kinds) == [client, *start]


def test_a_login_on_a_node_finds_its_programs(config: dict[str, Any], node: Node) -> None:
    node.walk(config, "setup_commands")
    login = {"setup_commands": ["ray --version", 'test "$RAY_AUTH_MODE" = token']}
    assert node.walk(login, "setup_commands") == ["ray --version"]


def test_an_installation_that_failed_is_tried_again(config: dict[str, Any], node: Node) -> None:
    constraints = node.home / "archprior" / "constraints.txt"
    away = constraints.rename(node.home / "away")
    with pytest.raises(AssertionError, match="pip install"):
        node.walk(config, "setup_commands")
    away.rename(constraints)
    assert [line[:22] for line in node.walk(config, "setup_commands")] == [
        "sudo apt-get update", "sudo apt-get install -", "python -m pip install ",
    ]  # fmt: skip
