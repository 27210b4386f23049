"""Rows of a part of a large table, chosen by the texts of a column."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def is_in(column: pa.ChunkedArray, wanted: Collection[str]) -> npt.NDArray[np.bool_]:
    """Whether each text of a column is wanted; each different text is looked at once."""
    masks = []
    for chunk in column.chunks:
        coded = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
        # The last one is of nulls, whose index is -1.
        keep = np.array([text in wanted for text in (*coded.dictionary.to_pylist(), None)])
        masks.append(keep[coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)])
    return np.concatenate(masks) if masks else np.zeros(0, dtype=bool)
