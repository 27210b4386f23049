"""The cluster launcher file, checked offline: Ray's schema, its own checks, and what we need."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
import yaml
from ray.autoscaler import sdk

ROOT = Path(__file__).parents[3]
RAY = Path(ray.autoscaler.__file__).parent


@pytest.fixture
def config() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
    return content


def check(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration as `ray up` prepares it, with Amazon's defaults, but not its client."""
    jsonschema.validate(config, json.loads((RAY / "ray-schema.json").read_text(encoding="utf-8")))
    defaults = yaml.safe_load((RAY / "aws" / "defaults.yaml").read_text(encoding="utf-8"))
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
    installs = [line for line in config["setup_commands"] if "pip install" in line]
    assert installs
    assert all("--constraint constraints.txt" in line for line in installs)


def test_what_is_mounted_is_this_repository(config: dict[str, Any]) -> None:
    for remote, local in config["file_mounts"].items():
        assert (ROOT / local / "pyproject.toml").is_file()
        assert any(Path(remote).name in line for line in config["setup_commands"])
