"""The package's public functions: analyse a study, load a table, pivot it to a matrix."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa

from analysis import from_mlflow, from_store, hints, parquet_files, to_mlflow
from analysis.answers import Answers
from analysis.collect import Collected, Survey, assemble
from analysis.consistency.known import GROUPS, KnownRows
from analysis.consistency.table import consistency_table
from analysis.contract import CONDITION_COLUMNS, SPEC, Status
from analysis.dials import dial_table
from analysis.encoded_tables import EncodedTables, num_gone, unchanged
from analysis.errors import DamagedFileError, NotWrittenWarning, UserError, unknown
from analysis.expectations.table import expectation_table
from analysis.guide_similarity import guide_similarity_table
from analysis.large_tables import classified, mapped_pairs, telling_history
from analysis.listing import as_noted, listed, note
from analysis.measured import TABLES
from analysis.names import DEFAULT_STORE, check_name
from analysis.pairs import pair_table
from analysis.parquet_files import StorePath
from analysis.predictors.table import Measured, predictor_table
from analysis.priors import prior_table
from analysis.questions import question
from analysis.schema import SCHEMAS
from analysis.search import budget_curve
from analysis.study_run import (
    Opened,
    may_be_read_only,
    not_in_mlflow,
    opened,
    opened_alone,
    without_progress_bars,
)
from analysis.trainability import trainability_table
from analysis.transfer import transfer_table

#: Called with the number of replicates that were read, and of all that are to be.
Passed = Callable[[int, int], object]

#: Tables of every study, and of those with a search.
_ALWAYS = (
    "replicates", *TABLES, "transfer", "pairs", "priors", "consistency", "guide_similarity",
    "predictors", "trainability",
)  # fmt: skip
_OF_SEARCH = ("search", "budget_curve")
_OF_SOME_SPECS = (*_OF_SEARCH, "dials", "expectations")
_MATRIX_AXES = (
    *(column for column in CONDITION_COLUMNS if column not in ("guide", "target")),
    *("metric", "role", "seed"),
)


def analyze(
    study: str,
    *,
    store: StorePath = DEFAULT_STORE,
    tracking_uri: str | None = None,
    passed: Passed | None = None,
) -> Mapping[str, pd.DataFrame]:
    """Make a study's tables from the present state of its store.

    Where the store has no such study, the same tables are made from MLflow.
    Writes each as `<store>/studies/<study>/<table>.parquet` and logs it to the study's MLflow run
    under `tables/`, beside a description, figures, and metrics by cell. Only replicates that have
    ended since the last call are read; where nothing has changed at all, nothing is written.

    Args:
        study: name of the study.
        store: folder or URI of the store.
        tracking_uri: MLflow's; by default the sqlite database in the store.
        passed: called now and then with the number of replicates read, and of all that ended.

    Returns:
        Table name to frame: `replicates`, `history`, `predictions`, `alignment`, `transfer`,
        `pairs`, `priors`, `consistency`, `guide_similarity`, `predictors`, `trainability`; `dials`
        where guides are mixed; `search` and `budget_curve` where settings were searched;
        `expectations` where the spec in the store has rules or published numbers. A frame is made
        when it is first asked for.

    Raises UserError when the study is not there or its plan cannot be read, DamagedFileError where
    a file of the store is not whole. Warns (NotWrittenWarning) where the store is read-only, and
    where MLflow does not take the tables.
    """
    check_name(study)
    found = from_store.survey(study, store)
    if found is not None:
        inputs, tables = _made(study, store, found, passed)
        with not_in_mlflow("tables are"):
            _log(study, store, opened(study, store, tracking_uri), tables, inputs)
        return tables
    place = opened_alone(study, store, tracking_uri)
    with without_progress_bars():
        found = from_mlflow.survey(study, place.client, place.home)
        inputs, tables = _made(study, store, found, passed)
    with not_in_mlflow("tables are"):
        _log(study, store, place, tables, inputs)
    return tables


def refresh(
    study: str, *, store: StorePath = DEFAULT_STORE, passed: Passed | None = None
) -> EncodedTables | None:
    """Bring a study's tables in a store up to date, as `analyze` does, without MLflow.

    MLflow gets them with the next `analyze` or run. None where the store has no plan of the study,
    or tables without any replicate that they could be of: these are kept elsewhere, or nowhere.
    Where replicates are gone that the tables in the store have as finished, as in a store that was
    copied in part, the new ones are returned, not written (NotWrittenWarning). Else as `analyze`.
    """
    return _refreshed(study, store, passed)[0]


def _refreshed(
    study: str, store: StorePath, passed: Passed | None = None
) -> tuple[EncodedTables | None, bool]:
    """The tables that `refresh` returns, and whether the store has these."""
    check_name(study)
    listing = listed(study, store)
    if (same := as_noted(study, store, listing)) is not None:
        return same, True
    if (found := from_store.survey(study, store)) is None:
        return None, True
    gone = num_gone(study, store, found.outcomes)
    if gone is not None and all(o.status == Status.missing for o in found.outcomes.values()):
        return None, True
    if gone:
        told = f"no tables written: {gone} of {len(found.outcomes)} replicates are missing that "
        told += "the stored tables have as finished; "
        told += f"{hints.command('analyze', study, store=store)} writes them"
        warnings.warn(told, NotWrittenWarning, stacklevel=4)
    inputs, tables = _made(study, store, found, passed, write=not gone)
    if not gone:
        note(study, store, listing, inputs)
    return tables, not gone


def fresh(
    study: str, *, store: StorePath = DEFAULT_STORE, passed: Passed | None = None
) -> Callable[[str], pd.DataFrame]:
    """`load` for the tables of a study, after these were brought up to date (see `refresh`).

    Those that are not made from its replicates are as the store has them: `confirm`, and all
    of them where nothing is brought up to date.
    """
    return _fresh(study, store, refresh(study, store=store, passed=passed) or {})


def _fresh(
    study: str, store: StorePath, made: Mapping[str, pd.DataFrame]
) -> Callable[[str], pd.DataFrame]:
    """Tables that were made, and `load` for those that were not."""

    def table(name: str) -> pd.DataFrame:
        if name in made:
            return made[name]
        try:
            return load(study, name, store=store)
        except DamagedFileError:
            raise
        except UserError as error:
            filesystem, root = parquet_files.filesystem_of(store)
            if made or not filesystem.isdir(f"{root}/studies/{study}"):
                raise
            remedy = hints.command("analyze", study, store=store)
            raise UserError(f"{error}; {remedy} writes the tables") from error

    return table


def current(study: str, *, store: StorePath = DEFAULT_STORE) -> dict[str, pd.DataFrame]:
    """Tables of a study from the present state of its store, written nowhere, while it runs.

    As `analyze`, without those that take long (`consistency`, `guide_similarity`, `predictors`),
    those of rules, and intervals over test examples. Raises UserError where the store has no such
    study, DamagedFileError where a file of the store is not whole.
    """
    check_name(study)
    if (found := from_store.collect(study, store)) is None:
        raise UserError(f"study {study!r} has no plan in {os.fspath(store)}: archprior run SPEC")
    measured = {name: getattr(found, name) for name in TABLES}
    return measured | _of_results(found)


def _made(
    study: str, store: StorePath, found: Survey, passed: Passed | None, *, write: bool = True
) -> tuple[str, EncodedTables]:
    """Digest of all that a study's tables follow from, and the tables; `write` stores them."""
    text = parquet_files.read_file(store, study, SPEC) or b""
    inputs = hashlib.sha256(found.digest().encode() + text).hexdigest()[:32]
    if (tables := unchanged(study, store, inputs)) is None:
        tables = _tables(study, store, found, inputs, passed)
        if write:
            _write(store, study, tables.files)
    return inputs, tables


def _tables(
    study: str, store: StorePath, survey: Survey, inputs: str, passed: Passed | None
) -> EncodedTables:
    """The tables of a study, made of what its replicates left."""
    spec = _spec(store, study)
    names = [*_ALWAYS, *(_OF_SEARCH if survey.planned.has_search else ())]
    names += ["dials"] if survey.planned.has_mixtures else []
    names += ["expectations"] if has_expectations(spec) else []
    made = [name for name in SCHEMAS if name in names]
    metadata = _metadata(study, survey.provenance) | {"inputs": inputs, "made": made}
    found = assemble(survey, metadata, passed)
    tasks = dict(zip(found.uses["replicate_id"], found.uses["task"], strict=True))
    answers = Answers(classified(found.measured["predictions"]), tasks)
    frames = _of_results(found, answers)
    keys = {source.replicate_id: source.keys.get("predictions", "") for source in survey.sources}
    before = parquet_files.contents(store, study, ["consistency"]).get("consistency")
    # Where an older version wrote no clusters, answers of other replicates tell them.
    known = KnownRows(keys, before if answers.all_tell_clusters else None)
    of_classes = [name for name, task in found.tasks.items() if task.answers == "classes"]
    uses = found.uses[found.uses["task"].isin(of_classes)]
    frames["consistency"] = consistency_table(uses, answers, known=known)
    alignment = found.alignment
    frames["guide_similarity"] = guide_similarity_table(found.uses, alignment, found.tasks)
    measured = Measured.of(alignment, found.guide_taps, mapped_pairs(found.measured["history"]))
    frames["predictors"] = predictor_table(found.uses, measured, found.tasks)
    files = dict(found.measured)
    told = {"consistency": {GROUPS: known.groups}}
    files |= {
        name: parquet_files.encode(frame, name, metadata | told.get(name, {}))
        for name, frame in frames.items()
        if name in made
    }
    if "expectations" in made:
        tables = EncodedTables(files)
        frame = expectation_table(study, spec, tables.__getitem__)
        files["expectations"] = parquet_files.encode(frame, "expectations", metadata)
    return EncodedTables({name: files[name] for name in made})


def _of_results(found: Collected, answers: Answers | None = None) -> dict[str, pd.DataFrame]:
    """Outcomes, and effects; with `answers` also intervals over test examples."""
    history = telling_history(found.measured["history"])
    tables = {
        "replicates": found.replicates,
        "transfer": transfer_table(
            found.uses,
            history,
            found.tasks,
            answers=answers,
            margins=found.margins,
            confirm=found.confirm,
        ),
        "pairs": pair_table(found.uses, found.tasks),
        "priors": prior_table(found.uses, found.tasks),
        "dials": dial_table(found.uses, found.tasks),
        "trainability": trainability_table(found.uses, history, found.tasks),
    }
    if len(found.search):
        tables["search"] = found.search
        tables["budget_curve"] = budget_curve(found.search)
    return tables


def _write(store: StorePath, study: str, files: Mapping[str, bytes]) -> None:
    with may_be_read_only(store):
        for table, data in files.items():
            parquet_files.write(store, parquet_files.table_path(study, table), data)
        for table, data in parquet_files.contents(store, study, _OF_SOME_SPECS).items():
            # Those of `check` with rules of its own are kept.
            if table not in files and "made" in _facts(data):
                parquet_files.remove(store, parquet_files.table_path(study, table))


def _facts(data: bytes) -> dict[str, Any]:
    """The origin that a table's file names; empty where it is damaged or names none."""
    try:
        facts = parquet_files.checked(data)
    except (ValueError, OSError, pa.ArrowException):
        return {}
    return {name: facts[name] for name in ("inputs", "made") if name in facts}


def check(
    study: str,
    *,
    expect: Sequence[Any] | None = None,
    published: Sequence[Any] | None = None,
    store: StorePath = DEFAULT_STORE,
) -> pd.DataFrame:
    """Compare a study's tables with its expectations; returns the table `expectations`.

    Brings the other tables up to date first (see `refresh`), and writes this one as
    `<store>/studies/<study>/expectations.parquet`.

    Args:
        study: name of the study.
        expect: rules, in place of those of the spec in the store.
        published: published numbers, in place of those of the spec in the store.
        store: folder or URI of the store.

    Raises ValueError when there is no such study, it has no tables yet, or there is nothing to
    check. Warns (NotWrittenWarning) where nothing is written: the store is read-only, or lacks
    replicates that had finished.
    """
    spec = parquet_files.read_spec(store, study)
    own = expect is None and published is None
    if not own:
        spec = {"expect": expect, "published": published}
    if not has_expectations(spec):
        which = "its spec has" if own else "the rules that are given have"
        raise UserError(f"study {study!r}: {which} no expect: rules and no published: numbers")
    made, are_stored = _refreshed(study, store)
    frame = expectation_table(study, spec, _fresh(study, store, made or {}))
    if not are_stored:
        return frame
    before = parquet_files.contents(store, study, ["expectations"]) if own else {}
    facts = _facts(before.get("expectations", b""))
    data = parquet_files.encode(frame, "expectations", _metadata(study, {}) | facts)
    with may_be_read_only(store):
        parquet_files.write(store, parquet_files.table_path(study, "expectations"), data)
    return frame


def has_expectations(spec: Mapping[str, Any]) -> bool:
    """Whether a spec has rules or published numbers."""
    return bool(spec.get("expect") or spec.get("published"))


def _spec(store: StorePath, study: str) -> Mapping[str, Any]:
    """The spec in the store; empty where the store has none."""
    try:
        return parquet_files.read_spec(store, study)
    except UserError:
        return {}


def _log(study: str, store: StorePath, place: Opened, tables: EncodedTables, inputs: str) -> None:
    """Log tables to a study's run, unless it has them."""
    if place.writable:
        text = (parquet_files.read_file(store, study, SPEC) or b"").decode("utf-8", "replace")
        with without_progress_bars(), may_be_read_only(store):
            run = from_mlflow.parent_run(study, place.client)
            to_mlflow.log_study(place.client, run, tables, inputs, question(text))


def _metadata(study: str, provenance: Mapping[str, str]) -> dict[str, Any]:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return {"study": study, "created": created, "provenance": dict(provenance)}


def load(study: str, table: str, *, store: StorePath = DEFAULT_STORE) -> pd.DataFrame:
    """A table that `analyze` wrote, as a tidy frame; `plan`, `alignments`, `guide_taps` as written.

    Raises ValueError, with what exists and the nearest match, for an unknown study or table, and
    for a table that a newer archprior wrote.
    """
    return parquet_files.read(store, study, table)


def matrix(frame: pd.DataFrame, value: str = "difference") -> pd.DataFrame:
    """Pivot a table of conditions to guides (rows) x targets (columns), in the frame's order.

    A pair that has no row is missing. Raises ValueError when `value` is not a column, and when
    anything but guide and target still varies, because a matrix would mix what is not comparable:
    the message names these axes and their values.
    """
    for column in ("guide", "target", value):
        if column not in frame.columns:
            raise unknown("column:", column, frame.columns)
    varying = {
        axis: frame[axis].drop_duplicates().tolist()
        for axis in _MATRIX_AXES
        if axis in frame.columns and frame[axis].nunique(dropna=False) > 1
    }
    if varying:
        axes = "; ".join(
            f"{axis} ({', '.join('null' if pd.isna(each) else str(each) for each in values)})"
            for axis, values in varying.items()
        )
        raise UserError(f"a matrix needs one value of each of these axes: {axes}")
    pivoted = frame.set_index(["guide", "target"])[value].unstack("target")
    return pivoted.reindex(
        index=frame["guide"].drop_duplicates(), columns=frame["target"].drop_duplicates()
    )
