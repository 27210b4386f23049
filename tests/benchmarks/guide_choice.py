"""How often the table `predictors` errs: false verdicts without a relation, finds with one.

    python tests/benchmarks/guide_choice.py [STUDIES]

Guides differ in a property, and in what they hand over; each varies a little over targets, too, and
targets differ in how much they gain from any guide. A few minutes of one CPU core.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np

from analysis.predictors.association import OPEN, TOO_FEW, association, predictions
from analysis.statistics import Values

SIZES = ((5, 1), (6, 1), (6, 3), (6, 6))
#: Correlations of a guide's property with what it hands over, at the level of guides.
RELATIONS = (0.0, 0.8)
#: Standard deviation of what varies over the targets of a guide.
WITHIN = 0.3
STUDIES = 400


def studies(
    num_guides: int, num_targets: int, relation: float, count: int
) -> Iterator[tuple[Values, Values]]:
    """Properties and gains `(G, T)` of studies."""
    rng = np.random.default_rng(num_guides * 100 + num_targets)
    for _ in range(count):
        guide = rng.normal(size=(2, num_guides, 1))
        gain = relation * guide[0] + np.sqrt(1 - relation**2) * guide[1]
        noise = WITHIN * rng.normal(size=(2, num_guides, num_targets))
        yield guide[0] + noise[0], gain + noise[1] + 3 * rng.normal(size=num_targets)


def main(arguments: list[str]) -> None:
    """Print a table."""
    count = int(arguments[0]) if arguments else STUDIES
    print(
        "| guides x targets | correlation | verdict | p <= .05 | interval without 0 | prediction |"
    )
    print("|---|---|---|---|---|---|")
    for num_guides, num_targets in SIZES:
        for relation in RELATIONS:
            found = np.array([
                _measured(x, y) for x, y in studies(num_guides, num_targets, relation, count)
            ]).mean(0)  # fmt: skip
            shares = " | ".join(f"{share:.3f}" for share in found)
            print(f"| {num_guides} x {num_targets} | {relation} | {shares} |", flush=True)


def _measured(x: Values, y: Values) -> tuple[float, ...]:
    found, expected = association(x, y), predictions(x, y)
    assert found.low is not None
    assert found.high is not None
    assert found.p_value is not None
    held = (expected.low <= y) & (y <= expected.high)
    return (
        float(found.verdict not in (OPEN, TOO_FEW)),
        float(found.p_value <= 0.05),
        float(found.low > 0 or found.high < 0),
        float(held.mean()),
    )


if __name__ == "__main__":
    main(sys.argv[1:])
