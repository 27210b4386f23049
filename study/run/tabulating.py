"""The tables of a study that has run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from study.plan.progress import Progress
from study.run.collecting import collecting
from trainers.store.store import REPLICATE_TABLES, CorruptError


def tabulated(
    progress: Progress, tracking_uri: str | None, say: Callable[[str], object]
) -> Mapping[str, Any]:
    """Make the tables of a study; returns them by name.

    Finished replicates whose files turn out to be damaged are missing then, and `say` gets a line
    about each: the next run trains them anew.
    """
    import analysis
    from analysis.errors import DamagedFileError

    def analyzed() -> Mapping[str, Any]:
        with collecting() as passed:
            return analysis.analyze(
                progress.plan.name, store=progress.store.uri, tracking_uri=tracking_uri,
                passed=passed,
            )  # fmt: skip

    try:
        return analyzed()
    except DamagedFileError:
        if not _discard_damaged(progress, say):
            raise
    return analyzed()


def _discard_damaged(progress: Progress, say: Callable[[str], object]) -> bool:
    """Discard finished replicates with tables that are not as written; whether there were any."""
    found = False
    for identifier, state in list(progress.states.items()):
        stored = progress.store.replicate(identifier)
        for name in state.result.files if state.result is not None else ():
            if name not in REPLICATE_TABLES:
                continue
            try:
                stored.read(name, state.result)
            except (CorruptError, FileNotFoundError) as error:
                say(f"warning: {error}: run the study again to train it anew")
                progress.discard(identifier)
                found = True
                break
    return found
