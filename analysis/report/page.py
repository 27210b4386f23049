"""The page of a study: its sections in order, made from tables alone, as one HTML text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

from analysis.contract import REPORT, Status
from analysis.parquet_files import StorePath
from analysis.parquet_files import write as write_file
from analysis.quantities import duration
from analysis.report import (
    alignments,
    claims,
    consistencies,
    cost,
    curves,
    dials,
    failures,
    files,
    forests,
    guide_choice,
    heat_maps,
    searches,
    setting,
    statements,
    trainabilities,
)
from analysis.report.blocks import Fact, Section
from analysis.report.environment import environment, policy, text_of
from analysis.report.facts import Facts, Live
from analysis.report.numbers import count
from analysis.report.tables import StudyTables

#: The page's sections, in order; one that gives None has nothing to show.
SECTIONS: tuple[Callable[[StudyTables], Section | None], ...] = (
    setting.section,
    claims.section,
    statements.section,
    heat_maps.section,
    forests.section,
    curves.section,
    dials.section,
    alignments.section,
    consistencies.section,
    trainabilities.section,
    guide_choice.section,
    searches.section,
    failures.section,
    cost.section,
    cost.provenance,
    files.section,
)

#: Name of the page's element that says of what files it was made; a run's page has none.
_MADE_OF = "archprior-made-of"


def render(tables: StudyTables, facts: Facts | None = None) -> str:
    """The page of a study as HTML: one file that needs no other and no network.

    Args:
        tables: the study's tables.
        facts: the state of its run; while that goes on, the page reloads itself.

    Raises UserError where the study has no tables.
    """
    facts = facts or Facts()
    tables.check()
    # First: tables that change while the page is made leave it with the mark of the old ones.
    digest = tables.digest if facts == Facts() and not tables.made else None
    now = datetime.now(UTC)
    script = text_of("page.js")
    return environment().get_template("page.html.j2").render(
        study=tables.study,
        state=_state(tables),
        live=facts.live,
        live_facts=[] if facts.live is None else _live_facts(facts.live),
        notes=facts.notes,
        sections=[section for make in SECTIONS if (section := make(tables)) is not None],
        style=text_of("style.css"),
        script=script,
        made_of=_MADE_OF,
        digest=digest,
        policy=policy([script]),
        written=now.strftime("%Y-%m-%d %H:%M UTC"),
        written_iso=now.isoformat(timespec="seconds"),
        written_ms=int(now.timestamp() * 1000),
    )  # fmt: skip


def write(study: str, store: StorePath, facts: Facts | None = None) -> str:
    """Write the page of a study from its tables in the store; returns its path in the store.

    It is replaced whole: who reads it meanwhile sees the old page or the new one. Raises UserError
    where the study has no tables, OSError where it cannot be written.
    """
    return save(StudyTables(study, store), facts)


def renew(study: str, store: StorePath) -> str:
    """Write the page as `write` does, unless there is one of the same files by the same code."""
    tables = StudyTables(study, store)
    mark = f'<meta name="{_MADE_OF}" content="{tables.digest}">'.encode()
    if mark in (tables.read(REPORT) or b""):
        return _path(tables)
    return save(tables)


def save(tables: StudyTables, facts: Facts | None = None) -> str:
    """Write the page of tables as `write` does."""
    path = _path(tables)
    write_file(tables.store, path, render(tables, facts).encode())
    return path


def _path(tables: StudyTables) -> str:
    return f"studies/{tables.study}/{REPORT}"


def _state(tables: StudyTables) -> str:
    """Numbers of replicates by status, in words."""
    statuses = Counter(str(row["status"]) for row in tables.distinct)
    words = {
        "finished": "finished",
        "failed": "failed",
        "blocked": "blocked",
        "missing": "to train",
    }
    found = [f"{count(statuses[status])} {words[status]}" for status in Status if statuses[status]]
    return f"{count(statuses.total())} replicates: {', '.join(found)}"


def _live_facts(live: Live) -> list[Fact]:
    left = "not known yet" if live.seconds_left is None else f"about {duration(live.seconds_left)}"
    facts = [
        Fact(term="finished", text=f"{count(live.finished)} of {count(live.total)}"),
        Fact(term="time so far", text=duration(live.seconds_passed)),
        Fact(term="time left", text=left),
    ]
    if live.per_minute is not None:
        facts.append(Fact(term="replicates a minute", text=f"{live.per_minute:.3g}"))
    return facts
