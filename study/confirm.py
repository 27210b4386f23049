"""Confirmation of a study: its rules and named rows, frozen, at seeds that it never used."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import analysis
from analysis import parquet_files, plan_file
from analysis.confirmation import CONFIRMED, confirm_table, statements
from analysis.contract import PLAN, SPEC, Role
from analysis.errors import UserError
from analysis.hints import command
from analysis.names import DEFAULT_STORE
from study.errors import SpecError
from study.run import frozen as records
from study.run.at_work import at_work
from study.run.frozen import Frozen
from study.run.interrupts import Interrupts
from study.run.locations import existing_store, open_store
from study.search.in_store import StoreResults
from study.spec.seeded import at_seeds, tuning_seeds
from study.spec.user_modules import imported
from study.study import Outcome, Study
from trainers.extensions.module import Module
from trainers.store.folder import Folder
from trainers.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

#: Fewer seeds have no interval, so that nothing can be confirmed.
FEWEST_SEEDS = 3


@dataclass(frozen=True)
class Confirmation:
    """Frozen statements, the run at fresh seeds, and the table `confirm`."""

    frozen: Frozen
    outcome: Outcome
    table: pd.DataFrame

    @property
    def confirmed(self) -> bool:
        """Whether every statement is confirmed."""
        return bool((self.table["verdict"] == CONFIRMED).all())


def confirm(
    study: str,
    *,
    store: str | os.PathLike[str] = DEFAULT_STORE,
    seeds: int | None = None,
    anew: bool = False,
    imports: Sequence[str | os.PathLike[str]] = (),
    tracking_uri: str | None = None,
    address: str | None = None,
    wait_seconds: float | None = None,
    local: bool = False,
    retry: bool = False,
    log_json: str | os.PathLike[str] | None = None,
    interrupts: Interrupts | None = None,
) -> Confirmation:
    """Freeze the rules and named rows of a study in a store, and ask them of fresh seeds.

    The first call writes `studies/<study>/confirm.json`: statements, seeds and what was known,
    with digests. Only then the spec is trained at these seeds alone, as a study
    `<study>-confirm` in the same store; a later call goes on there. The table `confirm` is written
    beside the tables of `study`.

    Args:
        study: name of a study with tables in the store.
        store: folder or URI of the store.
        seeds: number of fresh seeds; by default as many as the study has, 3 or more.
        anew: freeze what the spec has now, for fresh seeds; what was frozen before is kept beside.
        imports: paths of the user's modules that the study imports, unchanged since it ran.
        tracking_uri: as for `Study.run`, like all that follow.

    Raises SpecError, or UserError of `analysis`, where there is no such study or it has no tables,
    nothing to confirm, other modules than it had, or other rules, rows or conditions than those
    that were frozen; then the errors of `Study.run`.
    """
    if seeds is not None and seeds < FEWEST_SEEDS:
        raise SpecError(f"--seeds: {seeds} have no interval; allowed: {FEWEST_SEEDS} or more")
    place = existing_store(store)
    folder = StudyInStore.read(study, place).folder
    modules = imported(list(imports), Path.cwd(), "confirm", "--imports")
    open_store(store)
    # Not while a run may write another spec and other tables.
    with at_work(folder, study):
        source = StudyInStore.read(study, place)
        source.check_modules(modules)
        frozen = _frozen(source, modules, seeds, anew=anew)
    outcome = source.at(frozen.seeds, frozen.confirmation, modules).run(
        store=store, tracking_uri=tracking_uri, address=address, wait_seconds=wait_seconds,
        local=local, retry=retry, log_json=log_json, interrupts=interrupts,
    )  # fmt: skip
    return Confirmation(frozen, outcome, _tabulated(study, frozen, outcome, folder))


@dataclass(frozen=True, kw_only=True)
class StudyInStore:
    """The study that is to be confirmed, as its store has it.

    `rows` are those of its plan; `modules` names its modules with their digests.
    """

    name: str
    store: Store
    content: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    modules: str

    @classmethod
    def read(cls, name: str, store: Store) -> StudyInStore:
        """The study in a store; raises UserError, or SpecError where it has nothing to confirm."""
        content = parquet_files.read_spec(store.uri, name)
        if not (content.get("expect") or content.get("confirm")):
            raise SpecError(
                f"study {name!r}: its spec has no expect: rules and no confirm: rows, so there is "
                "nothing to confirm"
            )
        plan = plan_file.stored(name, store.uri)
        if plan is None:
            raise SpecError(
                f"study {name!r}: there is no {PLAN} of it in {store.uri}: archprior run SPEC "
                "writes it"
            )
        provenance = parquet_files.metadata_of(plan, PLAN).get("provenance", {})
        return cls(
            name=name, store=store, content=content, rows=plan.to_pylist(),
            modules=provenance.get("imports", ""),
        )  # fmt: skip

    @property
    def folder(self) -> Folder:
        """Its folder in the store."""
        return self.store.root / "studies" / self.name

    def is_in_store(self, name: str) -> bool:
        """Whether the store has a study of another name."""
        return (self.store.root / "studies" / name).exists(SPEC)

    def check_modules(self, modules: Sequence[Module]) -> None:
        """Raise SpecError unless these are the modules that it was trained with."""
        given = {f"{module.name}={module.digest}" for module in modules}
        needed = set(filter(None, self.modules.split(", ")))
        if given != needed:
            names = ", ".join(sorted(each.partition("=")[0] for each in needed)) or "none"
            raise SpecError(
                f"--imports: study {self.name!r} was trained with the modules {names}; give "
                f"these, each a .py file or a package folder, as they are in {self.folder.uri}"
                "/imports"
            )

    @property
    def digests(self) -> tuple[str, str]:
        """Digests of its statements and of its conditions."""
        asked = records.digest(records.statements_of(self.content))
        return asked, records.conditions_digest(self.content, self.modules)

    @property
    def num_seeds(self) -> int:
        """Number of seeds of its conditions, tuning seeds not counted."""
        roles = (Role.baseline, Role.guided, Role.control, Role.rival)
        return len({row["seed"] for row in self.rows if row["role"] in roles})

    def at(self, seeds: Sequence[int], name: str, modules: Sequence[Module]) -> Study:
        """The study at other seeds, by another name."""
        return Study.of(at_seeds(self.content, name, seeds), modules)

    def exploratory(self) -> list[dict[str, Any]]:
        """Its statements with their values in its tables; raises UserError where it has none."""

        def table(name: str) -> pd.DataFrame:
            try:
                return analysis.load(self.name, name, store=self.store.uri)
            except UserError as error:
                remedy = command("analyze", self.name, store=self.store.uri)
                raise SpecError(f"{error}; {remedy} writes the tables") from error

        return statements(self.name, self.content, table)


def _frozen(
    source: StudyInStore, modules: Sequence[Module], num_seeds: int | None, *, anew: bool
) -> Frozen:
    """Statements as they were frozen before, else as they are now, which is written down."""
    before = records.read(source.folder)
    if before is None or anew:
        frozen = _freeze(source, modules, num_seeds, 0 if before is None else before.attempt)
        records.write(source.folder, frozen)
        return frozen
    before.check_unchanged(source.name, source.store.uri, *source.digests)
    if num_seeds not in (None, len(before.seeds)):
        raise SpecError(
            f"--seeds: {num_seeds}, but {len(before.seeds)} seeds were frozen for "
            f"{before.confirmation}; --anew draws others"
        )
    return before


def _freeze(
    source: StudyInStore, modules: Sequence[Module], num_seeds: int | None, last_attempt: int
) -> Frozen:
    """Statements of the study now, and seeds that are still unused."""
    names = ((n, f"{source.name}-confirm{'' if n == 1 else f'-{n}'}") for n in itertools.count(1))
    # A study of that name may be there: an earlier confirmation whose record is lost, or another.
    attempt, confirmation = next(
        (number, name)
        for number, name in names
        if number > last_attempt and not source.is_in_store(name)
    )
    exploratory = source.exploratory()
    number = num_seeds or max(source.num_seeds, FEWEST_SEEDS)
    statements_digest, conditions_digest = source.digests
    return Frozen(
        attempt=attempt,
        confirmation=confirmation,
        time=_now(),
        seeds=_fresh_seeds(source, modules, confirmation, number),
        statements=records.statements_of(source.content),
        statements_digest=statements_digest,
        conditions_digest=conditions_digest,
        exploratory=exploratory,
        exploratory_digest=records.digest(exploratory),
    )


def _fresh_seeds(
    source: StudyInStore, modules: Sequence[Module], confirmation: str, number: int
) -> list[int]:
    """The smallest seeds that neither the study nor a confirmation of it was planned at.

    At none of them the store has a replicate of the study's conditions: another study may have
    trained it, or the study itself when it had more seeds.
    """
    used = {row["seed"] for row in source.rows} | tuning_seeds(source.content)
    used.update(*(each.seeds for each in records.all_of(source.folder)))
    begun, results = source.store.known(), StoreResults(source.store)
    while True:
        seeds = list(itertools.islice((n for n in itertools.count() if n not in used), number))
        plan = source.at(seeds, confirmation, modules).plan(results=results)
        plan.check_data()
        taken = {
            seed
            for planned in plan.conditions
            # Weights that are evaluated alone have one replicate for all seeds.
            if planned.condition.weights is None
            for seed, identifier in planned.ids.items()
            if identifier in begun
        }
        if not taken & {*seeds}:
            return seeds
        used |= taken


def _tabulated(study: str, frozen: Frozen, outcome: Outcome, folder: Folder) -> pd.DataFrame:
    """The table `confirm`: frozen statements beside those of fresh seeds; written to `folder`."""
    fresh = statements(frozen.confirmation, frozen.statements, outcome.tables.__getitem__)
    table = confirm_table(
        frozen.exploratory, fresh, study=study, confirmation=frozen.confirmation,
        attempt=frozen.attempt, num_seeds=len(frozen.seeds),
    )  # fmt: skip
    facts = {"study": study, "created": _now(), "provenance": {}, "seeds": frozen.seeds}
    digests = {"statements_digest": frozen.statements_digest}
    folder.write(records.TABLE, parquet_files.encode(table, "confirm", facts | digests))
    return table


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
