"""The command `analyze`: a study's tables, and what they say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

from analysis.hints import command
from study.cli import checking
from study.cli.matrix import print_matrix, print_sentences
from study.run.collecting import collecting
from study.run.locations import existing_store, find_store, tracking_uri_of
from trainers.secrets import masked

if TYPE_CHECKING:
    import pandas as pd


def analyze(study: str, store: str, tracking_uri: str | None) -> None:
    """Write a study's tables and print the matrix."""
    import analysis

    place = existing_store(store) if tracking_uri is None else find_store(store)
    uri = tracking_uri_of(place, tracking_uri)
    tables: Mapping[str, pd.DataFrame] = {}
    with checking.not_written() as unsaid, collecting() as passed:
        tables = analysis.analyze(study, store=place.uri, tracking_uri=uri, passed=passed)
    print_matrix(tables["transfer"])
    checking.say_summary(tables, command("check", study, store=place.uri))
    for line in unsaid:
        typer.echo(line, err=True)
    if not unsaid:
        typer.echo(f"tables: {masked((place.root / 'studies' / study).uri)}/*.parquet")
    print_sentences(tables["transfer"])
