"""The question of a study and its setting: task, targets, guides, controls, seeds, training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from analysis.contract import Role
from analysis.report.blocks import Fact, FactList, Note, Section, Text
from analysis.report.numbers import count, present
from analysis.report.tables import StudyTables

#: Names of a list that the page shows; the rest are counted.
_MAX_NAMES = 12
_SIDES = ("guide", "target")
_TRAINING = ("train", "guide_train", "resources")


def section(tables: StudyTables) -> Section:
    """Question and setting, and the spec as the store has it."""
    blocks: list[Any] = [
        Note(text=tables.question or _asked(tables), tone="lead"),
        FactList(facts=list(_facts(tables))),
    ]
    if tables.spec_text:
        blocks.append(Text(title="The spec (spec.yaml)", text=tables.spec_text))
    return Section(anchor="setting", title="Question and setting", blocks=blocks)


def _asked(tables: StudyTables) -> str:
    """The question of a study whose spec says none."""
    guided = tables.guided()
    if not guided:
        return "What do these networks learn of these tasks, unguided?"
    guides, targets = (list({str(row[name]): None for row in guided}) for name in _SIDES)
    return (
        f"How much of the prior of {_all(guides)} on {_all(tables.tasks)} can {_all(targets)} take "
        "over?"
    )


def _all(found: list[str]) -> str:
    """Names in a sentence; many are counted."""
    if len(found) > _MAX_NAMES:
        return f"{count(len(found))} architectures"
    return " and ".join(filter(None, [", ".join(found[:-1]), found[-1]]))


def _facts(tables: StudyTables) -> Iterable[Fact]:
    replicates = tables.rows("replicates")
    of = {role: [row for row in replicates if row["role"] == role] for role in Role}
    trained = [*of[Role.baseline], *of[Role.guided], *of[Role.control], *of[Role.rival]]
    with_guide = [*of[Role.guided], *of[Role.control]]
    lists = {
        "tasks": tables.tasks,
        "targets": _column(trained, "target"),
        "guides": _column(with_guide, "guide"),
        "states": _column(of[Role.guided], "state"),
        "controls": _column(of[Role.control], "control"),
        "distances": _column(with_guide, "distance"),
        "mappings": _column(with_guide, "mapping"),
        "schedules": _column(with_guide, "schedule"),
        "rivals": _column(of[Role.rival], "treatment"),
    }
    for term, names in lists.items():
        if names:
            yield Fact(term=term, text=_names(names))
    seeds = sorted({int(row["seed"]) for row in trained})
    if seeds:
        yield Fact(term="seeds", text=_seeds(seeds))
    yield Fact(term="replicates", text=count(len(tables.distinct)))
    for name in _TRAINING:
        settings = tables.spec.get(name)
        if isinstance(settings, Mapping) and settings:
            yield Fact(
                term=name, text=", ".join(f"{k}: {v}" for k, v in settings.items()), code=True
            )


def _column(rows: Iterable[Mapping[str, Any]], name: str) -> list[str]:
    return list(dict.fromkeys(str(row[name]) for row in rows if present(row[name])))


def _names(names: Iterable[str]) -> str:
    """Names in a row; of many the first, and how many more there are."""
    found = list(dict.fromkeys(names))
    shown = ", ".join(found[:_MAX_NAMES])
    more = len(found) - _MAX_NAMES
    return f"{shown} and {count(more)} more" if more > 0 else shown


def _seeds(seeds: list[int]) -> str:
    whole = seeds == list(range(seeds[0], seeds[-1] + 1)) and len(seeds) > 1
    shown = f"{seeds[0]} to {seeds[-1]}" if whole else _names(map(str, seeds))
    return f"{count(len(seeds))} ({shown})" if len(seeds) > 1 else shown
