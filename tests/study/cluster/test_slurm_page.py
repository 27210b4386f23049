"""The recipe for Slurm in docs/cluster.md: what Slurm, the store and the GPUs ask of it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from study.cli.app import app
from study.run.interrupts import GRACE_SECONDS
from study.spec.read import Resources

PAGE = (Path(__file__).parents[3] / "docs" / "cluster.md").read_text(encoding="utf-8")
SECTION = re.split(r"^## ", PAGE, flags=re.MULTILINE)[2]


def blocks() -> list[str]:
    return re.findall(r"^```bash\n(.*?)^```", SECTION, flags=re.MULTILINE | re.DOTALL)


def script() -> str:
    (found,) = [block for block in blocks() if "#SBATCH" in block]
    return found


def requested() -> dict[str, str]:
    """Options of the script's jobs."""
    lines = [line for line in script().splitlines() if line.startswith("#SBATCH ")]
    words = [word for line in lines for word in shlex.split(line)[1:]]
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def commands() -> list[list[str]]:
    """Commands of archprior in the blocks and the text of the section."""
    quoted = re.findall(r"`(archprior [^`]*)`", SECTION.replace("\n  ", " "))
    lines = [line for block in blocks() for line in block.splitlines()]
    found = [line[line.index("archprior ") :] for line in lines if "archprior " in line]
    words = [shlex.split(line, comments=True) for line in found + quoted]
    return [each for each in words if len(each) > 2]


def test_the_jobs_are_one_task_each() -> None:
    # Slurm refuses `--gpus-per-task` without the number of tasks.
    assert {"--gpus-per-task", "--cpus-per-task"} <= requested().keys()
    assert requested()["--ntasks"] == "1"


def test_the_step_has_the_cpus_of_its_job() -> None:
    # From 22.05 on srun does not take them over.
    (step,) = [line for line in script().splitlines() if line.startswith("srun ")]
    assert step.startswith("srun --cpus-per-task=$SLURM_CPUS_PER_TASK archprior work ")


def test_a_job_is_told_in_time() -> None:
    name, _, seconds = requested()["--signal"].partition("@")
    assert name == "TERM"
    assert int(seconds) > GRACE_SECONDS


def test_the_gpu_of_a_job_is_asked_for_in_the_spec() -> None:
    assert requested()["--gpus-per-task"] == "1"
    (said,) = re.findall(r"`resources: ({.*?})`", SECTION)
    assert Resources(**yaml.safe_load(said)).gpus == 1


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_commands_name_the_shared_store_and_a_server(words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    given = command.commands[words[1]].make_context("archprior", words[2:]).params
    assert given["store"] == "/shared/store"
    # The store is on a network file system, where sqlite is refused.
    if words[1] in ("run", "retry"):
        assert given["tracking_uri"].startswith("http://")


def test_commands_are_found() -> None:
    assert {words[1] for words in commands()} == {"work", "status", "run", "retry"}
