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

import analysis
from tests.end_to_end.test_study import command

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
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


@pytest.mark.processes
def test_the_tutorial(tmp_path: Path) -> None:
    folder = folder_of_the_page(tmp_path / "my-study")
    (commands,) = COMMANDS.findall(PAGE)
    listed, good, ran = (
        done(*line.split()[1:], cwd=folder) for line in commands.strip().splitlines()
    )
    assert "residual_fcn" in listed
    assert good == "my-priors: good; 6 conditions, 12 replicates\n"
    assert "residual_fcn(depth=2,width=32) <- resnet2d(blocks=1,width=4), pairwise" in ran
    store = folder / "archprior-store"
    assert transfer_as_shown(store) == cells(TABLE.findall(PAGE)[0])
    # Alignments of baselines are a Ray task of their own.
    aligned = pd.read_parquet(store / "studies" / "my-priors" / "alignment.parquet")
    replicates = pd.read_parquet(store / "studies" / "my-priors" / "replicates.parquet")
    baselines = set(replicates[replicates["role"] == "baseline"]["replicate_id"])
    assert baselines <= set(aligned["replicate_id"])


@pytest.mark.processes
def test_its_entries_keep_their_contracts(tmp_path: Path) -> None:
    folder = folder_of_the_page(tmp_path / "my-study")
    network = folder / "my_priors" / "residual_fcn.py"
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_priors.py"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            tests, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )

    good = run()
    assert good.returncode == 0, good.stdout
    assert "15 passed" in good.stdout
    # The last layer of the page's example of a message: called, and left out of the answer.
    code = network.read_text()
    line = "        logits: Tensor = self.output(features)"
    skipped = code.replace("features = relu(features", "before, features = features, relu(features")
    network.write_text(skipped.replace(line, line.replace("features", "before")))
    broken = run()
    assert broken.returncode == 1
    (shown,) = re.findall(r"^```text\n(architecture .*?)^```$", PAGE, re.M | re.S)
    for sentence in (" ".join(part.split()) for part in shown.split("\n- ")[1:]):
        assert sentence in " ".join(broken.stdout.replace("\nE  ", "\n").split())


#: A module of one file that needs the package.
PAIRS = """
from my_priors import residual_fcn
from trainers.mappings import Pair, register

@register("my_pairs")
def my_pairs(target_taps, guide_taps, _similarity):
    "The first tap of the guide: signs of its last, averages of what is not negative, are all one."
    return [Pair(target_taps[-1], guide_taps[0])]
"""
#: A driver at a cluster that was there before it, whose nodes do not know the modules.
DRIVER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
try:
    from study import Study
    outcome = Study.load(sys.argv[1]).run(store=sys.argv[2], address=cluster.address)
    assert outcome.complete, outcome.progress.failures()
finally:
    cluster.shutdown()
"""


@pytest.mark.slow
def test_on_a_cluster_ray_brings_the_modules(tmp_path: Path) -> None:
    folder, store = folder_of_the_page(tmp_path / "my-study"), tmp_path / "store"
    (folder / "own").mkdir()
    (folder / "own" / "my_pairs.py").write_text(PAIRS)
    spec: dict[str, Any] = yaml.safe_load((folder / "study.yaml").read_text())
    spec |= {"imports": ["own/my_pairs.py", "my_priors"], "mapping": "my_pairs", "seeds": 1}
    (folder / "study.yaml").write_text(json.dumps(spec))
    process = subprocess.run(
        [sys.executable, "-c", DRIVER, str(folder / "study.yaml"), str(store)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path, capture_output=True, text=True, timeout=800, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout + process.stderr
    replicates = pd.read_parquet(store / "studies" / "my-priors" / "replicates.parquet")
    assert set(replicates["status"]) == {"finished"}
    assert set(replicates["mapping"].dropna()) == {"my_pairs"}
    guided = replicates[replicates["role"] == "guided"]["replicate_id"].iloc[0]
    described = json.loads((store / "replicates" / guided / "condition.json").read_text())
    assert described["imports"].keys() == {"my_pairs", "my_priors"}
