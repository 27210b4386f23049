"""The command `report`: a study's page, from its tables, which are brought up to date first."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import typer

from study.cli import checking
from study.errors import SpecError
from study.run.collecting import collecting
from study.run.locations import existing_store
from study.run.page import uri_of
from trainers.secrets import masked


def report(study: str, store: str, tracking_uri: str | None, *, show: bool) -> None:
    """Write a study's report, print its place, and open it where `show`.

    Raises UserError where there is no such study, SpecError where the page cannot be written or
    opened.
    """
    import analysis
    from analysis.report import StudyTables, save

    place = existing_store(store)
    with checking.not_written() as unsaid, collecting() as passed:
        analysis.refresh(study, store=place.uri, passed=passed)
    try:
        save(StudyTables(study, place.uri))
    except OSError as error:
        raise SpecError(
            f"--store: {place.uri}: the report cannot be written: {error.strerror or error}"
        ) from error
    with checking.not_written() as not_logged:
        analysis.log_report(study, store=place.uri, tracking_uri=tracking_uri)
    for line in unsaid + not_logged:
        typer.echo(line, err=True)
    written = uri_of(study, place)
    typer.echo(f"report: {masked(written)}")
    if show:
        if not place.root.is_local:
            raise SpecError(f"--open: {written} is in a bucket: open it from there")
        if not webbrowser.open(Path(written).absolute().as_uri()):
            raise SpecError(f"--open: no browser was found; open {written} in one")
