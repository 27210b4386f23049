"""The cluster launcher files, checked offline: Ray's schema, its own checks, and what we need."""

from __future__ import annotations

import copy
import importlib.util
import json
import re
import shlex
import subprocess
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
