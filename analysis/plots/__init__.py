"""Figures of a study's tables, drawn by matplotlib: `matrix`, `forest`, `curves`, `dial`,
`alignment`, `consistency`.

Each takes tables as `analysis.load` or `pandas.read_parquet` gives them, and an optional `ax`;
without one it draws on a figure of its own (`ax.figure`). Nothing touches pyplot, so figures can be
drawn in threads and servers, and are freed with their last reference. `save` writes the file of a
figure, `svg` its text for a web page; the same tables give the same bytes. `study_figure` has all
panels of one kind for a whole study.

Matplotlib is imported when one of them is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.plots.alignment_maps import alignment, mapped_pairs
    from analysis.plots.dials import dial
    from analysis.plots.error_consistency import consistency
    from analysis.plots.files import Picture, check_suffix, encoded, save, svg
    from analysis.plots.forests import forest
    from analysis.plots.learning_curves import curves
    from analysis.plots.matrices import matrix
    from analysis.plots.study_figures import KINDS, Choice, study_figure

#: Public name to its module.
_HOMES = {
    "matrix": "matrices",
    "forest": "forests",
    "curves": "learning_curves",
    "dial": "dials",
    "alignment": "alignment_maps",
    "mapped_pairs": "alignment_maps",
    "consistency": "error_consistency",
    "Picture": "files",
    "check_suffix": "files",
    "encoded": "files",
    "save": "files",
    "svg": "files",
    "KINDS": "study_figures",
    "Choice": "study_figures",
    "study_figure": "study_figures",
}

__all__ = [
    "KINDS", "Choice", "Picture", "alignment", "check_suffix", "consistency", "curves", "dial",
    "encoded", "forest", "mapped_pairs", "matrix", "save", "study_figure", "svg",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'analysis.plots' has no attribute {name!r}")
    return getattr(importlib.import_module(f"analysis.plots.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
