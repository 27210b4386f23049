"""The folder of a job: enough to run the study where nothing of it is installed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from study import Study
from study.cluster.jobs import Jobs
from study.cluster.staging import SPEC_FILE, stage
from study.errors import SpecError

MODULE = '''"""A user's own architecture."""
import math

from trainers.architectures import register
from trainers.architectures.fcn import FullyConnected


@register("staged_fcn", inputs=("image",))
def staged_fcn(input, output, *, width: int = 8):
    """A fully connected network of one width."""
    return FullyConnected(math.prod(input.shape), output.num_classes, 2, width, "batch", 0.0)
'''
SPEC: dict[str, Any] = {
    "name": "staged",
    "task": {"name": "translated_digits", "places": 1},
    "targets": [{"name": "staged_fcn", "width": 16}],
    "guides": [{"name": "resnet2d", "width": 4, "blocks": 1}],
    "controls": ["shuffled"],
    "seeds": 1,
    "train": {"steps": 4, "optimizer": "adam"},
}
SUBMITTED = """
import sys
from pathlib import Path
import study
from study import Study
from trainers.extensions.code_digest import source_digest
assert Path(study.__file__).is_relative_to(Path.cwd()), study.__file__
print(source_digest(), *(replicate.id for replicate in Study.load(sys.argv[1]).plan().replicates))
"""


@pytest.mark.processes
@pytest.mark.parametrize("package", [False, True])
def test_a_job_plans_the_same_replicates_from_its_folder(tmp_path: Path, package: bool) -> None:
    place = tmp_path / ("priors/__init__.py" if package else "priors.py")
    place.parent.mkdir(exist_ok=True)
    place.write_text(MODULE)
    study = Study(**SPEC, imports=[place.parent if package else place])
    folder = tmp_path / "job"
    folder.mkdir()
    stage(study, folder)
    # With nothing of ours on the path but the folder itself.
    ran = subprocess.run(
        [sys.executable, "-c", SUBMITTED, SPEC_FILE],
        cwd=folder, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    from trainers.extensions.code_digest import source_digest

    expected = [replicate.id for replicate in study.plan().replicates]
    assert ran.stdout.split() == [source_digest(), *expected]


def test_the_question_above_a_spec_travels(tmp_path: Path) -> None:
    stage(Study.load("quickstart"), tmp_path)
    text = (tmp_path / SPEC_FILE).read_text()
    assert text.startswith("# archprior run quickstart")
    assert not list(tmp_path.rglob("__pycache__"))


GUIDE = {"name": "resnet2d", "width": 4, "blocks": 1}


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ({"guides": [GUIDE | {"weights": "w/r.safetensors"}]}, "guides[0].weights"),
        ({"guides": [GUIDE | {"weights": ["/w/r.pt", "w/r.safetensors"]}]}, "guides[0].weights[1]"),
        ({"axes": {"guides.weights": ["w/r.safetensors"]}}, "axes.guides.weights[0]"),
        ({"rivals": [{"name": "from_weights", "path": "w/r.safetensors"}]}, "rivals[0].path"),
    ],
)
def test_weights_beside_the_spec_are_refused(
    written: dict[str, Any], place: str, tmp_path: Path
) -> None:
    study = Study(**SPEC | {"targets": ["fcn"]} | written)
    with pytest.raises(SpecError, match=re.escape(f"staged.{place}: 'w/r.safetensors' is rel")):
        stage(study, tmp_path)


@pytest.mark.parametrize(
    "weights", ["ResNet18_Weights.IMAGENET1K_V1", "/shared/w.pt", f"w.pt@sha256:{'0' * 64}"]
)
def test_weights_that_every_node_can_find_travel(weights: str, tmp_path: Path) -> None:
    guide = {"name": "resnet18", "weights": weights}
    stage(Study(**SPEC | {"targets": ["fcn"], "guides": [guide]}), tmp_path)
    assert yaml.safe_load((tmp_path / SPEC_FILE).read_text())["guides"] == [guide]


@pytest.mark.parametrize(
    ("store", "tracking_uri", "message"),
    [
        ("archprior-store", None, "--store: 'archprior-store' is relative to a folder of this"),
        ("s3://lab/store", "http://me:sekret@host:5000", "--tracking-uri: it holds a secret"),
    ],
)
def test_what_no_other_machine_can_mean_is_refused(
    store: str, tracking_uri: str | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Jobs, "__init__", lambda _self: None)
    with pytest.raises(SpecError, match=message) as caught:
        Jobs().submit(Study.load("quickstart"), store=store, tracking_uri=tracking_uri)
    assert "sekret" not in str(caught.value)
