"""Presets: every row of the paper is there, plans, can be built, and trains when made small."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import trainers
from study import Study
from study.spec import files as files_module
from study.spec import mixtures
from study.spec.files import PRESETS, load, presets
from tests.helpers import data_files, reduced, text_files
from trainers import architectures, tasks
from trainers.architectures import ARCHITECTURES
from trainers.tasks import TASKS

#: The paper's table of experiments, its tenth row (error consistency) excepted: that is a figure of
#: the others. The large form of row 6 is of its NeurIPS version.
ROWS: dict[str, list[str]] = {
    "1": ["imagenet-deep_fcn-resnet18"],
    "2": ["imagenet-wide_fcn-resnet18"],
    "3": ["imagenet-plain_resnet50-resnet50"],
    "4": ["imagenet-deep_fcn-vit_b_16", "imagenet-plain_resnet50-vit_b_16"],
    "5": ["copy_paste-rnn-transformer"],
    "6": ["wikitext103-rnn-transformer"],
    "6, large": ["openwebtext-rnn-transformer"],
    "7": ["parity-transformer-rnn"],
    "8": ["imagenet-deep_fcn-resnet18-stop150"],
    "9": ["imagenet-deep_fcn-resnet18-noise"],
    "9a": ["imagenet-deep_fcn-resnet18-align_noise"],
    "9b": ["imagenet-deep_fcn-resnet18-distillation"],
}
FULL = [name for names in ROWS.values() for name in names]
#: Sized for one GPU and an hour.
HOUR = ["cifar10-fcn-resnet18"]
SMALL = [name for name in presets() if name not in (*FULL, *HOUR, "quickstart")]

#: Mean and spread as printed: guide alone, target alone, trained guide, untrained guide.
PUBLISHED: dict[str, tuple[str, list[tuple[float, float | None]]]] = {
    "1": ("top5_accuracy", [(89.24, None), (1.65, 0.51), (7.50, 1.51), (13.10, 0.72)]),
    "2": ("top5_accuracy", [(89.24, None), (34.09, 1.21), (43.01, 0.92), (39.47, 0.31)]),
    "3": ("top5_accuracy", [(92.99, None), (70.02, 1.52), (78.91, 2.16), (68.17, 2.54)]),
    "5": ("accuracy", [(96.98, None), (14.35, 0.01), (23.27, 1.02), (42.56, 1.51)]),
    "6": ("perplexity", [(34.15, None), (69.19, 1.89), (40.01, 1.54), (59.61, 2.33)]),
    # Read in summaries, without spreads.
    "6, large": ("perplexity", [(33.10, None), (89.13, None), (36.91, None), (47.17, None)]),
    "7": ("accuracy", [(100, None), (71.98, 3.16), (78.49, 2.16), (70.38, 4.17)]),
}

#: Options that make full-scale entries small enough for one step here.
REDUCED: dict[str, dict[str, Any]] = {
    **reduced.REDUCED,
    "fcn": {"depth": 2, "width": 8},
    "rnn": {"depth": 2, "width": 8, "embedding": 4},
    "parity_rnn": {"width": 8},
    "transformer": {"depth": 2, "width": 8, "heads": 2, "feed_forward": 8},
    "transformer_decoder": {"depth": 2, "width": 8, "heads": 2, "feed_forward": 8},
    "transformer_encoder": {"depth": 2, "width": 8, "heads": 2, "feed_forward": 8},
    "imagenet": data_files.OPTIONS["imagenet"],
    "wikitext103": text_files.OPTIONS["wikitext103"],
    "cifar10": data_files.OPTIONS["cifar10"],
    "openwebtext": text_files.OPTIONS["openwebtext"],
    "copy_paste": {"length": 2, "max_length": 4, "train_size": 20},
    "parity": {"min_length": 2, "max_length": 6, "train_size": 20},
}


def small_entry(entry: Any) -> dict[str, Any]:
    entry = {"name": entry} if isinstance(entry, str) else dict(entry)
    if "mix" in entry:
        return entry | {"mix": [small_entry(each) for each in entry["mix"]]}
    entry.pop("weights", None)
    return entry | REDUCED[entry["name"]]


def small_form(preset: str) -> dict[str, Any]:
    """The preset with small networks and data, one step and one seed."""
    raw, _ = load(preset)
    kept = {k: v for k, v in raw.items() if k not in ("expect", "published", "resources")}
    train = raw["train"] | {"steps": 1, "batch_size": 8, "report_every": 1}
    return kept | {
        "task": small_entry(raw["task"]),
        "targets": [small_entry(entry) for entry in raw["targets"]],
        "guides": [small_entry(entry) for entry in raw["guides"]],
        "train": {k: v for k, v in train.items() if k != "epochs"},
        "guide_train": {},
        "seeds": 1,
    }


def test_every_row_of_the_paper_is_there() -> None:
    assert set(FULL) <= set(presets())
    assert len(SMALL) == len(presets()) - len(FULL) - len(HOUR) - 1


def test_what_tools_leave_is_no_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "PRESETS", tmp_path)
    (tmp_path / "one.yaml").touch()
    (tmp_path / "._one.yaml").touch()
    (tmp_path / "folder.yaml").mkdir()
    assert presets() == ["one"]


@pytest.mark.parametrize("preset", presets())
def test_its_name_says_task_target_and_guide(preset: str) -> None:
    _, spec = load(preset)
    if preset == "quickstart":
        return
    task, target, guide, *variant = preset.split("-")
    assert len(variant) <= 1
    for block in spec.blocks:
        assert {entry.name for entry in block.task} == {task}
        assert all(target in entry.name for entry in block.targets)
        assert all(e.name in guide or guide in e.name for _, e in mixtures.parts(block.guides))


@pytest.mark.parametrize("preset", presets())
def test_it_plans(preset: str) -> None:
    plan = Study.load(preset).plan()
    roles = {replicate.condition.role for replicate in plan.replicates}
    assert roles - {"rival"} == {"guide", "baseline", "guided", "control"}


@pytest.mark.parametrize("preset", SMALL)
def test_a_small_one_has_seeds_and_expectations(preset: str) -> None:
    _, spec = load(preset)
    assert spec.expect
    assert all(len(block.seeds) >= 5 for block in spec.blocks)
    assert spec.resources.gpus == 0


@pytest.mark.parametrize("preset", [*FULL, *HOUR])
def test_a_full_one_asks_for_gpus(preset: str) -> None:
    _, spec = load(preset)
    assert spec.resources.gpus == 1
    assert spec.expect
    assert {*spec.blocks[0].states} == {"trained", "untrained"}
    assert spec.blocks[0].controls


@pytest.mark.parametrize("row", PUBLISHED)
def test_published_numbers_are_the_papers(row: str) -> None:
    metric, numbers = PUBLISHED[row]
    raw, _ = load(ROWS[row][0])
    found = {
        entry["of"]: (entry["metric"], entry["value"], entry.get("spread"))
        for entry in raw["published"]
    }
    scale = 1 if metric == "perplexity" else 100
    terms = zip(("guide", "baseline", "trained", "untrained"), numbers, strict=True)
    for term, (mean, spread) in terms:
        name, value, own = found[term]
        assert name == metric
        assert scale * value == pytest.approx(mean)
        assert own is None if spread is None else scale * own == pytest.approx(spread)


@pytest.mark.parametrize("row", [row for row in ROWS if row not in (*PUBLISHED, "8")])
def test_where_the_paper_has_no_numbers_none_are_invented(row: str) -> None:
    for name in ROWS[row]:
        assert "published" not in load(name)[0]


@pytest.mark.processes
@pytest.mark.parametrize("preset", [*FULL, *HOUR])
def test_its_networks_can_be_built(preset: str) -> None:
    plan = Study.load(preset).plan()
    for planned in plan.conditions:
        condition = planned.condition
        names = [condition.target]
        if condition.guidance is not None:
            names.append(condition.guidance.term.guide.architecture)
        task = tasks.build(condition.task)
        for name in names:
            network = architectures.build_on_meta(name, task.input, task.output)
            parameters = sum(math.prod(p.shape) for p in network.parameters())
            assert parameters > 100_000, ARCHITECTURES.label(name)


def by_networks() -> Iterator[Any]:
    """Presets at full scale; those after the first of the same networks are slow."""
    seen: set[str] = set()
    for preset in (*FULL, *HOUR):
        spec, _ = load(preset)
        networks = str([spec[key] for key in ("task", "targets", "guides")])
        again = networks in seen
        seen.add(networks)
        yield pytest.param(preset, marks=[pytest.mark.slow] if again else [])


@pytest.mark.processes
@pytest.mark.parametrize("preset", [*by_networks()])
def test_it_takes_a_step_at_reduced_width(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_files.write_all(tmp_path / "data")
    text_files.write_all(tmp_path / "data")
    data_files.use(tmp_path / "data", monkeypatch)
    tasks.clear_cache()
    plan = Study(**small_form(preset)).plan()
    assert {TASKS[r.condition.task.name].name for r in plan.replicates} == {
        preset.partition("-")[0]
    }
    for replicate in plan.replicates:
        condition = replicate.condition.with_steps(1)
        result = trainers.train(
            condition, seed=0, store=tmp_path / "store", report=lambda _payload: None
        )
        assert all(math.isfinite(value) for value in result.metrics.values()), condition
    tasks.clear_cache()


def cpu_seconds(*arguments: str) -> float:
    """Processor time of a Python process, which other work on the machine hardly changes."""
    before = os.times()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


@pytest.fixture(scope="module")
def import_seconds() -> float:
    return cpu_seconds("-c", "import torch")


@pytest.mark.slow
@pytest.mark.parametrize("preset", presets())
def test_its_plan_comes_at_once(preset: str, import_seconds: float, tmp_path: Path) -> None:
    """Two to three times as long as PyTorch's import; docs/performance.md has the seconds."""
    seconds = cpu_seconds("-m", "study", "plan", preset, "--store", str(tmp_path))
    assert seconds < 4 * import_seconds


@pytest.mark.parametrize("preset", presets())
def test_it_says_what_it_is_for(preset: str) -> None:
    first, _, *prose = (PRESETS / f"{preset}.yaml").read_text(encoding="utf-8").splitlines()
    assert re.match(rf"# archprior run {re.escape(preset)} +\(", first)
    assert prose[0].startswith("# ")
