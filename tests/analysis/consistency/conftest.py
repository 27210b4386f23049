"""Predictions with known correctness, as the `predictions` table holds them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.schema import conform, schema, to_frame


@pytest.fixture
def predictions_of():
    """Makes the table from replicate id to correctness, (examples,) or (examples, positions).

    Labels are 0; a right answer is 0, a wrong one is `wrong` (1 by default, an array elsewhere).
    `clusters` has one for each example; by default each is its own.
    """

    def make(correct, wrong=1, clusters=None):
        import pyarrow as pa

        parts = []
        for name, right in correct.items():
            flat = np.asarray(right).reshape(len(right), -1)
            example, position = np.indices(flat.shape)
            answer = wrong[name].reshape(flat.shape) if isinstance(wrong, dict) else wrong
            chosen = np.where(flat, 0, answer)
            parts.append(
                pd.DataFrame(
                    {
                        "replicate_id": name,
                        "example": example.ravel(),
                        "position": position.ravel(),
                        "label": 0,
                        "prediction": chosen.ravel(),
                        "cluster": example.ravel()
                        if clusters is None
                        else np.asarray(clusters)[example.ravel()],
                    }
                )
            )
        if not parts:
            return to_frame(schema("predictions").empty_table())
        table = pa.Table.from_pandas(pd.concat(parts), preserve_index=False)
        return to_frame(conform(table, schema("predictions")))

    return make
