"""The campaign of faults: a few in each long test, its draws, and that it notices what is lost."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from study import Study
from tests.faults.campaign import Outcome, Round, drawn_rounds, report, run_round
from tests.faults.grounds import SPEC, Ground
from tests.faults.injections import FAULTS, Fault
from tests.faults.study_in_hand import StudyInHand
from tests.helpers.driver import ROOT
from tests.helpers.undisturbed import tables


def test_each_kind_is_drawn_once_before_any_comes_twice() -> None:
    possible = {fault.name for fault in FAULTS if fault.lacks is None}
    for number in (len(possible), 2 * len(possible) + 1):
        rounds = drawn_rounds(3, number)
        drawn = Counter(fault.name for one in rounds for fault in one.faults)
        assert drawn.total() == number
        assert drawn.keys() == possible
        assert max(drawn.values()) - min(drawn.values()) <= 1
        assert all(one.ground in fault.grounds for one in rounds for fault in one.faults)
        assert drawn_rounds(3, number) == rounds
    assert drawn_rounds(4, 50) != drawn_rounds(3, 50)


def test_the_report_says_what_is_broken_and_what_never_came() -> None:
    worker = [Outcome("worker killed", runs=2, seconds=10.0), Outcome("worker killed", missed=True)]
    broken = Outcome("two drivers", lost=["a", "b"], broken="lost", seconds=20.0)
    lines = report([*worker, broken]).splitlines()
    assert len(lines) == 2 + len(FAULTS)
    assert "| worker killed | 1 | 2 | 0 | 0 | as a quiet run | 10 |" in lines
    assert "| two drivers | 1 | 0 | 2 | 0 | 1 BROKEN | 20 |" in lines
    assert any(line.startswith("| trial killed | 0 (not drawn") for line in lines)


def forget(study: StudyInHand, draw: random.Random) -> None:
    """What no fault of the campaign does: a finished replicate is gone, and nobody excuses it."""
    study.driver.kill("driver")
    study.driver.process.wait()
    done = next(Path(study.ground.store).glob("replicates/*/result.json"))
    shutil.rmtree(done.parent)


@pytest.mark.slow
def test_a_finished_replicate_that_is_trained_again_is_noticed(tmp_path: Path) -> None:
    assert Study(**SPEC).run(store=tmp_path / "quiet", local=True).complete
    folder = tmp_path / "round"
    folder.mkdir()
    saboteur = Fault("saboteur", (Ground,), forget)
    # With this seed it comes when more than half is trained.
    (outcome,) = run_round(
        Round(0, Ground, (saboteur,)), 7, tables(tmp_path / "quiet", SPEC["name"]), folder
    )
    assert outcome.lost or outcome.twice
    assert outcome.broken


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_few_faults_of_the_campaign(tmp_path: Path) -> None:
    script = ROOT / "tests/faults/campaign.py"
    done = subprocess.run(
        [sys.executable, script, "--seed", "5", "--faults", "4"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " of 4 faults came" in done.stdout
