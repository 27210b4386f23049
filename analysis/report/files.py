"""Links to the study's files, which lie beside the page."""

from __future__ import annotations

from analysis.parquet_files import SOURCES
from analysis.report.blocks import FileLink, FileList, Section
from analysis.report.numbers import size
from analysis.report.tables import StudyTables
from analysis.schema import SCHEMAS

_CONTENT = {
    "replicates": "every replicate: status, test values, time",
    "history": "every metric by step",
    "predictions": "answers on the test split",
    "alignment": "similarity of taps, before and after",
    "transfer": "guided and control conditions against the baseline, with verdicts",
    "priors": "effects in steps that add up",
    "dials": "mixtures of guides by their weights",
    "pairs": "paired values by seed",
    "consistency": "error consistency with guides",
    "guide_similarity": "are guides that are alike inside alike in what they hand over?",
    "predictors": "does what is known of a guide beforehand tell what it hands over?",
    "trainability": "why targets fail alone",
    "expectations": "rules of the spec, and published numbers",
    "search": "trials of the search",
    "budget_curve": "expected best of each budget",
    "confirm": "frozen statements at fresh seeds",
    "plan": "planned replicates",
    "alignments": "comparisons made after training",
    "guide_taps": "similarity of guides' taps to the labels, and their effective rank",
    "spec": "the study as it was written",
}


def section(tables: StudyTables) -> Section:
    """The files beside the page; one that a user put there is none of the study's."""
    order = {name: place for place, name in enumerate([*SCHEMAS, *SOURCES, "spec"])}
    stems = {name: name.rpartition(".")[0] for name in tables.files}
    links = [
        FileLink(name=name, text=_CONTENT.get(stems[name], ""), size=size(num_bytes))
        for name, num_bytes in tables.files.items()
        if stems[name] in order
    ]
    links.sort(key=lambda link: order[stems[link.name]])
    return Section(
        anchor="files",
        title="Tables",
        lead="Parquet files beside this page; docs/tables.md explains each column. In Python: "
        f'analysis.load("{tables.study}", "transfer").',
        blocks=[FileList(links=links)],
    )
