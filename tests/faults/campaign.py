"""A campaign of faults: a study is disturbed at drawn moments, and must end as a quiet run does.

    python tests/faults/campaign.py --faults 50 --seed 1 [--minutes 60] [--outcomes FILE]

Faults are drawn from `tests/faults/injections.py`, each kind once before any comes twice, and are
put together to rounds of up to three. A round is one small study on one ground (in one process, on
Ray, with an MLflow server, in a bucket): each fault comes when a drawn part of what is left is
trained, and the study's command is started again whenever it has ended before the study is done.

After each fault nothing may be lost that was finished before it, and nothing trained again, but
what a damaged file or a failure stands for. At the end of a round all tables must be those of a
quiet run, bit for bit, and MLflow must hold each point of each metric once. Exit status 1 where
that is not so; `--round` repeats rounds, as far as moments can be repeated, `--ground` runs those
of a ground. With `--outcomes` what came of each round is kept in a file, and the command goes on
with those that it lacks.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from study import Study
from tests.faults.grounds import SPEC, Ground
from tests.faults.injections import FAULTS, Fault
from tests.faults.study_in_hand import StudyInHand, TooLateError
from tests.helpers.undisturbed import check_points, check_tables, tables

FAULTS_A_ROUND = 3
#: Of what is left to train, the part after which the next fault comes at the latest.
_LATEST = 0.7


@dataclass(frozen=True)
class Round:
    """A study on a ground, and the faults that come to it in turn."""

    number: int
    ground: type[Ground]
    faults: tuple[Fault, ...]


@dataclass
class Outcome:
    """What came of one fault; `broken` says what should have been otherwise."""

    fault: str
    missed: bool = False
    runs: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    broken: str = ""
    seconds: float = 0.0


def drawn_rounds(seed: int, num_faults: int) -> list[Round]:
    """The campaign of a seed."""
    draw = random.Random(seed)
    possible = [fault for fault in FAULTS if fault.lacks is None]
    drawn: list[Fault] = []
    while len(drawn) < num_faults:
        drawn += draw.sample(possible, len(possible))
    grounds: dict[type[Ground], list[Fault]] = {}
    for fault in drawn[:num_faults]:
        grounds.setdefault(draw.choice(fault.grounds), []).append(fault)
    parts = [
        (ground, tuple(faults[start : start + FAULTS_A_ROUND]))
        for ground, faults in grounds.items()
        for start in range(0, len(faults), FAULTS_A_ROUND)
    ]
    draw.shuffle(parts)
    return [Round(number, *part) for number, part in enumerate(parts)]


def run_round(
    one: Round, seed: int, wanted: Mapping[str, pd.DataFrame], folder: Path
) -> list[Outcome]:
    """Disturb a study in `folder`, let it come to its end, and look at what came of it."""
    draw = random.Random(f"{seed}-{one.number}")
    outcomes: list[Outcome] = []
    try:
        with one.ground(folder) as ground:
            study = StudyInHand(ground)
            for fault in one.faults:
                outcomes.append(Outcome(fault.name))
                _disturb(study, fault, draw, outcomes[-1])
            began, runs = time.monotonic(), study.num_runs
            study.complete()
            ground.calm()
            outcomes[-1].runs += study.num_runs - runs
            outcomes[-1].seconds += time.monotonic() - began
            check_tables(tables(ground.store, SPEC["name"]), wanted)
            check_points(ground.store, ground.uri, SPEC["name"])
    except Exception:
        outcomes = outcomes or [Outcome(one.faults[0].name)]
        outcomes[-1].broken = traceback.format_exc()
    return outcomes


def _disturb(study: StudyInHand, fault: Fault, draw: random.Random, outcome: Outcome) -> None:
    """Bring a fault to a running study, and look at what it has lost when it goes on."""
    began, runs = time.monotonic(), study.num_runs
    progress = study.progress()
    moment = progress + draw.uniform(0, _LATEST) * (1 - progress)
    print(f"  {fault.name}, when {moment:.0%} is trained", flush=True)
    try:
        study.wait_until(moment)
        before = study.seen()
        fault.inject(study, draw)
    except TooLateError:
        outcome.missed = True
        print("    the study was done before", flush=True)
    else:
        # What was killed takes time to be gone, and what takes its place to look at the store.
        study.wait_until(min(1.0, study.progress() + 0.02))
        outcome.lost = sorted(study.lost(before))
        outcome.twice = sorted(study.trained_twice(before))
        if outcome.lost or outcome.twice:
            outcome.broken = f"lost: {outcome.lost}, trained twice: {outcome.twice}"
    outcome.runs += study.num_runs - runs
    outcome.seconds = time.monotonic() - began


def report(outcomes: Sequence[Outcome]) -> str:
    """A table in Markdown, a row for each kind of fault."""
    lines = [
        "| fault | injected | runs started again | replicates lost | trained twice | verdict "
        "| seconds each |",
        "|---|---|---|---|---|---|---|",
    ]
    for fault in FAULTS:
        of = [each for each in outcomes if each.fault == fault.name and not each.missed]
        if not of:
            reason = fault.lacks or "not drawn, or the study was done before"
            lines.append(f"| {fault.name} | 0 ({reason}) | | | | | |")
            continue
        broken = sum(bool(each.broken) for each in of)
        lines.append(
            f"| {fault.name} | {len(of)} | {sum(each.runs for each in of)} "
            f"| {sum(len(each.lost) for each in of)} | {sum(len(each.twice) for each in of)} "
            f"| {f'{broken} BROKEN' if broken else 'as a quiet run'} "
            f"| {sum(each.seconds for each in of) / len(of):.0f} |"
        )
    return "\n".join(lines)


def campaign(
    rounds: Sequence[Round], seed: int, done: Done, *, minutes: float, repeat: str
) -> None:
    """Run those rounds that are not done until the time is over; `repeat` repeats one of them."""
    deadline = time.monotonic() + 60 * minutes
    # Sockets of Ray have short paths.
    root = Path(tempfile.mkdtemp(prefix="c"))
    quiet = done.quiet or root / "quiet"
    assert Study(**SPEC).run(store=quiet, local=True).complete
    wanted = tables(quiet, SPEC["name"])
    for one in (one for one in rounds if one.number not in done.rounds):
        if time.monotonic() > deadline:
            print("the time is over")
            break
        print(f"round {one.number}, {one.ground.__name__}", flush=True)
        folder = root / f"{one.number}"
        folder.mkdir()
        found = run_round(one, seed, wanted, folder)
        done.add(one.number, found)
        if any(each.broken for each in found):
            print(*(each.broken for each in found), sep="\n")
            print(f"BROKEN; its files are in {folder}; again: {repeat} --round {one.number}")
        else:
            shutil.rmtree(folder)
    if not list(root.glob("[0-9]*")):
        shutil.rmtree(root)


class Done:
    """Outcomes of rounds by their number, kept in a file where there is one.

    `quiet` is the folder of the undisturbed study beside it.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self.quiet = None if file is None else file.with_suffix(".quiet").absolute()
        self.rounds: dict[int, list[Outcome]] = {}
        if file is not None and file.exists():
            kept = json.loads(file.read_text())
            self.rounds = {int(n): [Outcome(**each) for each in of] for n, of in kept.items()}

    def add(self, number: int, outcomes: list[Outcome]) -> None:
        """Keep those of a round."""
        self.rounds[number] = outcomes
        if self._file is not None:
            kept = {n: [asdict(each) for each in of] for n, of in self.rounds.items()}
            self._file.write_text(json.dumps(kept, indent=1))

    @property
    def outcomes(self) -> list[Outcome]:
        """Those of all rounds."""
        return [each for number in sorted(self.rounds) for each in self.rounds[number]]


def main() -> int:
    """Exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=len(FAULTS), metavar="N")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no round later")
    parser.add_argument("--outcomes", type=Path, metavar="FILE", help="what came of each round")
    parser.add_argument("--round", type=int, nargs="+", metavar="K", help="only these, by number")
    grounds = sorted({ground.__name__ for fault in FAULTS for ground in fault.grounds})
    parser.add_argument("--ground", choices=grounds, help="only rounds on this one")
    chosen = parser.parse_args()
    rounds = [
        one
        for one in drawn_rounds(chosen.seed, chosen.faults)
        if (chosen.round is None or one.number in chosen.round)
        and chosen.ground in (None, one.ground.__name__)
    ]
    repeat = f"python tests/faults/campaign.py --seed {chosen.seed} --faults {chosen.faults}"
    done = Done(chosen.outcomes)
    # So that a campaign which is ended leaves no processes and no disks.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    campaign(rounds, chosen.seed, done, minutes=chosen.minutes, repeat=repeat)
    print(report(done.outcomes))
    late = sum(each.missed for each in done.outcomes)
    injected = len(done.outcomes) - late
    print(f"seed {chosen.seed}: {injected} of {chosen.faults} faults came, {late} too late")
    return int(any(each.broken for each in done.outcomes))


if __name__ == "__main__":
    sys.exit(main())
