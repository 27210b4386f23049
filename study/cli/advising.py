"""The command `advise`: guides of a spec by alignment before training, and how good that is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.predictors.association import HIGHER, LOWER, MIN_GUIDES, UNTOLD
from analysis.predictors.sentences import counted, sentence
from study.advice import RANKED_IN, Advice, Candidate, Record, advise
from study.cli.console import say, wide_console
from study.errors import SpecError
from study.run.locations import find_store
from study.search.in_store import StoreResults
from study.study import Study

#: Most records of studies that are printed; --json has all.
_MOST_RECORDS = 12


def show(spec: str, store: str, *, num_seeds: int, as_json: bool) -> None:
    """Print the guides of a spec by rank, and what the store says of such ranks.

    Raises SpecError where no guide can be ranked, by its kind.
    """
    study = Study.load(spec)
    place = find_store(store)
    plan = study.plan(results=StoreResults(place))
    plan.check_data()
    advice = advise(plan, place, num_seeds=num_seeds)
    if not advice.candidates:
        raise SpecError(
            f"{spec}: nothing to rank: no condition is guided by one guide at the taps "
            "(give guides: and a distance of features)"
        )
    if as_json:
        typer.echo(json.dumps(advice.content() | {"summary": summary(advice.records)}, indent=1))
        return
    console = wide_console()
    for _, group in groupby(advice.candidates, _group):
        _print_group(console, list(group))
    for line in _lines(advice):
        say(line, indent=2 if line.startswith("- ") else 0)


def _group(each: Candidate) -> tuple[str, ...]:
    return tuple(getattr(each, name) for name in RANKED_IN)


def _print_group(console: Console, group: Sequence[Candidate]) -> None:
    task, target, state, mapping = _group(group[0])
    heading = f"{task}: {target} <- {state} guides, {mapping}; by alignment before training"
    say(heading)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("rank", justify="right")
    table.add_column("guide", overflow="fold")
    table.add_column("CKA", justify="right")
    table.add_column("95% over seeds", justify="right")
    table.add_column("n", justify="right")
    table.add_column("", overflow="fold")
    for each in group:
        limits = "" if each.low is None else f"{each.low:.3f} .. {each.high:.3f}"
        table.add_row(
            "-" if each.rank is None else str(each.rank), Text(each.guide),
            "" if each.alignment is None else f"{each.alignment:.3f}", limits, str(each.n),
            Text("" if each.unknown is None else f"not known: {each.unknown}"),
        )  # fmt: skip
    console.print(table)


def _lines(advice: Advice) -> Iterator[str]:
    """Lines on what is not ranked, and on how good such ranks were."""
    if advice.not_ranked:
        yield (
            f"not ranked: {advice.not_ranked} conditions of several guides at once, or whose "
            "distance compares answers"
        )
    yield summary(advice.records)
    telling = [each for each in advice.records if each.verdict not in UNTOLD]
    for each in telling[:_MOST_RECORDS]:
        where = ", ".join(
            str(part)
            for part in (each.task, each.state, each.distance, each.mapping, each.schedule)
            if part is not None
        )
        yield f"- {each.study} ({where}; as of {each.created}): {sentence(asdict(each))}"
    if len(telling) > _MOST_RECORDS:
        yield f"- {len(telling) - _MOST_RECORDS} more: --json has them"
    if silent := len(advice.records) - len(telling):
        yield (
            f"{counted(silent, 'group')} of guides cannot tell, with fewer than {MIN_GUIDES} "
            "guides or guides that are all alike: --json has them"
        )
    for study, reason in advice.unread.items():
        yield f"- {study}: {reason}"


def summary(records: Sequence[Record]) -> str:
    """How well initial alignment told the better guide, in the groups of studies that can tell."""
    telling = [each for each in records if each.verdict not in UNTOLD]
    if not telling:
        return (
            "How good this ranking is, no study in the store can tell: none has enough guides with "
            "results. Take it for a guess."
        )
    better = sum(each.verdict == HIGHER for each in telling)
    worse = sum(each.verdict == LOWER for each in telling)
    return (
        f"How good this ranking is: of {counted(len(telling), 'group')} of guides in the store "
        f"that could tell, the more aligned guides taught better in {better}, worse in {worse}; "
        f"not established in {len(telling) - better - worse}."
    )
