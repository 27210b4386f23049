"""The first part of docs/extending.md, done as it stands: a module of the user's, through Ray."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from test_study import command

import analysis

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
FILE = re.compile(r"^##+ [^\n`]*`([\w/]+\.\w+)`\n\n```(?:python|yaml)\n(.*?)^```$", re.M | re.S)
COMMANDS = re.compile(r"^In the folder `my-study`:\n\n```bash\n(.*?)^```$", re.M | re.S)
TABLE = re.compile(r"^```text\n( +task .*?)^```$", re.M | re.S)


def folder_of_the_page(folder: Path) -> Path:
    for name, content in FILE.findall(PAGE):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return folder


def done(*arguments: object, cwd: Path) -> str:
    process: subprocess.CompletedProcess[str] = command(*arguments, cwd=cwd)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def cells(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def transfer_as_shown(store: Path) -> list[list[str]]:
    frame = analysis.load("my-priors", "transfer", store=store)
    columns = ["task", "target", "guide", "control", "distance", "n"]
    return cells(frame[columns].drop_duplicates().to_string())


def test_the_page_has_the_files_of_its_tree() -> None:
    tree = PAGE.split("```text\n")[1].split("```")[0]
    names = {name.rpartition("/")[2] for name, _ in FILE.findall(PAGE)}
    assert names == set(re.findall(r"\w+\.\w+", tree))


def test_the_tutorial(tmp_path: Path) -> None:
    folder = folder_of_the_page(tmp_path / "my-study")
    (commands,) = COMMANDS.findall(PAGE)
    listed, good, ran = (
        done(*line.split()[1:], cwd=folder) for line in commands.strip().splitlines()
    )
    assert "residual_fcn" in listed
    assert good == "my-priors: good; 4 conditions, 8 replicates\n"
    assert "residual_fcn(depth=2,width=32) <- resnet2d(blocks=1,width=4), pairwise" in ran
    store = folder / "archprior-store"
    assert transfer_as_shown(store) == cells(TABLE.findall(PAGE)[0])
    # Alignments of baselines are a Ray task of their own.
    aligned = pd.read_parquet(store / "studies" / "my-priors" / "alignment.parquet")
    replicates = pd.read_parquet(store / "studies" / "my-priors" / "replicates.parquet")
    baselines = set(replicates[replicates["role"] == "baseline"]["replicate_id"])
    assert baselines <= set(aligned["replicate_id"])


#: A driver at a cluster that others started, whose nodes know nothing of the user's module.
DRIVER = """
import json, os, sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
from study import Study
study = Study.load(sys.argv[1])
outcome = study.run(store=sys.argv[2], address=cluster.address)
assert outcome.complete, outcome.progress.failures()
print("trained at", cluster.address)
cluster.shutdown()
"""


@pytest.mark.slow
@pytest.mark.parametrize("imports", [["my_priors"], ["own/one_file.py", "my_priors"]])
def test_on_a_cluster_ray_brings_the_modules(tmp_path: Path, imports: list[str]) -> None:
    folder = folder_of_the_page(tmp_path / "my-study")
    spec: dict[str, Any] = yaml.safe_load((folder / "study.yaml").read_text())
    if len(imports) > 1:
        (folder / "own").mkdir()
        source = "from trainers.mapping import register\nfrom my_priors import residual_fcn\n"
        source += '@register("my_pairs")\ndef my_pairs(target_taps, guide_taps, _similarity):\n'
        source += "    from trainers.mapping import Pair\n"
        source += "    return [Pair(target_taps[-1], guide_taps[-1])]\n"
        (folder / "own" / "one_file.py").write_text(source)
        spec["mapping"] = "my_pairs"
    spec |= {"imports": imports, "seeds": 1}
    (folder / "study.yaml").write_text(json.dumps(spec))
    root = Path(__file__).parents[2]
    process = subprocess.run(
        [sys.executable, "-c", DRIVER, str(folder / "study.yaml"), str(tmp_path / "store")],
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout + process.stderr
    assert "trained at" in process.stdout
    replicates = pd.read_parquet(
        tmp_path / "store" / "studies" / "my-priors" / "replicates.parquet"
    )
    assert set(replicates["status"]) == {"finished"}
