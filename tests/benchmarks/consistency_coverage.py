"""How often intervals of error consistency hold the truth, over simulated networks and pictures.

Run: python tests/benchmarks/consistency_coverage.py [--draws N] [--json]

Two to three minutes of one CPU core. Prints a table of docs/statistics.md. Some draws are checked
by the package's own `consistency` table.

Pictures are easy or hard, alike for all networks; a guided network copies its guide's answer on
some of them, and answers the others on its own. So the kappas that networks have on all pictures
follow from their settings, and so do those of all seeds.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parents[2]))

from analysis.answers import Answers
from analysis.consistency.bootstrap import DRAWS, draw_counts, interval
from analysis.consistency.kappa import kappa
from analysis.consistency.table import consistency_table
from analysis.schema import frame_of, schema
from tests.helpers.simulated_seeds import NUM_SEEDS, Array, Figures, share, tell

NUM_DRAWS = 1000
#: Studies on which the package's table is compared with what is computed here.
CHECKED = 2
#: Seeds over which the values of all seeds are taken.
MANY = 2000
#: Share of pictures that are easy, and how much likelier a right answer is there.
EASY, EASIER = 0.85, 0.45
#: How far shares of wrong answers of seeds lie about their mean, evenly, as a part of it.
ERROR_SPREAD = 0.1

THESE, NEW = "of these networks", "over new seeds"

Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A test set, and the networks that are seen on it.

    Of each digit there are `places` pictures, on which half of the answers are alike.
    `accuracies` are means of guides, of baselines, and of guided networks where they do not copy.
    Seeds copy shares that lie evenly from the first to the second of `copied`. Coverage is told of
    the values in `holds`: of `these networks`, or `over new seeds`.
    """

    digits: int
    places: int
    accuracies: tuple[float, float, float] = (0.915, 0.8, 0.84)
    copied: tuple[float, float] = (0.02, 0.14)
    holds: tuple[str, ...] = (THESE,)


#: As the digits of docs/reproduction.md; two in which few errors are seen; and very uneven seeds.
SETTINGS = {
    "4 x 400 pictures": Setting(digits=400, places=4, holds=(THESE, NEW)),
    "200 pictures": Setting(digits=200, places=1),
    "400 pictures, accuracies of .95 to .97": Setting(
        digits=400, places=1, accuracies=(0.97, 0.95, 0.955)
    ),
    "4 x 400 pictures, seeds that copy none to half": Setting(
        digits=400, places=4, copied=(0.0, 0.5), holds=(THESE, NEW)
    ),
}


@dataclass(frozen=True)
class Networks:
    """Probabilities (n, 2) to be right on hard and easy pictures, and shares copied (n,)."""

    guide: Array
    baseline: Array
    own: Array
    copied: Array


def networks(setting: Setting, n: int, rng: np.random.Generator) -> Networks:
    """Networks of n seeds."""
    middle = np.array(setting.accuracies)[:, None]
    accuracy = middle + ERROR_SPREAD * (1 - middle) * rng.uniform(-1, 1, (3, n))
    # What makes answers on easy pictures likelier, at an accuracy that stays.
    room = EASIER * np.minimum(1, (1 - accuracy) / (EASIER * (1 - EASY)))
    right = np.stack([accuracy - room * EASY, accuracy + room * (1 - EASY)], -1)
    guide, baseline, own = right
    return Networks(guide, baseline, own, rng.uniform(*setting.copied, n))


def true_kappas(made: Networks) -> tuple[Array, Array]:
    """Kappas on all pictures: guided with guides (n, n), and baselines with guides (n,)."""
    shares = np.array([1 - EASY, EASY])
    own = made.copied[:, None] * made.guide + (1 - made.copied[:, None]) * made.own
    both = np.einsum("is,js,s->ij", own, made.guide, shares)
    alone = np.einsum("is,is,s->i", made.own, made.guide, shares)
    guide, guided, baseline = made.guide @ shares, own @ shares, made.baseline @ shares
    np.fill_diagonal(both, made.copied * guide + (1 - made.copied) * alone)
    sides = np.broadcast_arrays(guided[:, None], guide[None])
    with_guides = kappa(sides[0], sides[1], both)
    floor = np.einsum("is,is,s->i", made.baseline, made.guide, shares)
    return with_guides, kappa(baseline, guide, floor)


def contrasts(with_guides: Array, floor: Array) -> dict[str, Array]:
    """Columns kappa, excess and own from kappas (n, n, ...) and (n, ...): means over seeds."""
    n = len(floor)
    own_guide = np.stack([with_guides[k, k] for k in range(n)])
    others = (with_guides.sum(1) - own_guide) / (n - 1)
    return {
        "kappa": own_guide.mean(0),
        "excess": (own_guide - floor).mean(0),
        "own": (own_guide - others).mean(0),
    }


def errors(setting: Setting, made: Networks, rng: np.random.Generator) -> dict[str, Booleans]:
    """Wrong answers (n, digits, places) of guides, baselines and guided networks."""
    shape = (len(made.copied), setting.digits, setting.places)
    easy = rng.random(shape[1:]) < EASY
    alike = rng.random(shape[1:]) < 0.5
    alike[:, 0] = True
    easy = np.where(alike, easy[:, :1], easy)

    def chances() -> Array:
        drawn = rng.random(shape)
        return np.where(alike, drawn[:, :, :1], drawn)

    def wrong(right: Array) -> Booleans:
        limit = np.where(easy, right[:, 1, None, None], right[:, 0, None, None])
        found: Booleans = chances() >= limit
        return found

    found = {"guide": wrong(made.guide), "baseline": wrong(made.baseline)}
    copies = chances() < made.copied[:, None, None]
    return found | {"guided": np.where(copies, found["guide"], wrong(made.own))}


def limits(
    wrong: Mapping[str, Booleans], weights: npt.NDArray[np.float32]
) -> dict[str, tuple[float, float]]:
    """Intervals of the three columns by the bootstrap over digits."""
    guide, guided, baseline = (wrong[name] for name in ("guide", "guided", "baseline"))
    n, digits, places = guide.shape

    def counted(answers: Booleans) -> Array:
        counts = answers.sum(-1, dtype=np.float32).reshape(-1, digits) @ weights
        shares: Array = counts.astype(np.float64) / (digits * places)
        return shares

    alone = {name: counted(each) for name, each in wrong.items()}
    both = counted((guided[:, None] & guide[None]).reshape(-1, digits, places))
    sides = np.broadcast_arrays(alone["guided"][:, None], alone["guide"][None])
    with_guides = kappa(sides[0], sides[1], both.reshape(n, n, -1))
    floor = kappa(alone["baseline"], alone["guide"], counted(baseline & guide))
    found = {}
    for name, draws in contrasts(with_guides, floor).items():
        low, high = interval(draws)
        found[name] = (np.nan if low is None else low, np.nan if high is None else high)
    return found


def check(wrong: Mapping[str, Booleans], found: Mapping[str, tuple[float, float]]) -> None:
    """Raise AssertionError where the `consistency` table has other limits."""
    n, _, places = wrong["guide"].shape
    named = {"study": "simulated", "task": "toy", "status": "finished"}
    rows: list[dict[str, object]] = []
    for seed in range(n):
        ids = {f"{role}_id": f"{role}/{seed}" for role in ("guide", "baseline")}
        for role, target in (("guide", "cnn"), ("baseline", "fcn"), ("guided", "fcn")):
            row = named | {"replicate_id": f"{role}/{seed}", "role": role, "target": target,
                           "seed": seed}  # fmt: skip
            if role == "guided":
                row |= ids | {"guide": "cnn", "state": "trained", "control": "none"}
            rows.append(row)
    answers = [
        {"replicate_id": f"{role}/{seed}", "example": example, "position": 0, "label": 0,
         "prediction": int(is_wrong), "cluster": example // places}
        for role, each in wrong.items() for seed in range(n)
        for example, is_wrong in enumerate(each[seed].ravel())
    ]  # fmt: skip
    tasks = {str(row["replicate_id"]): str(row["task"]) for row in rows}
    given = Answers([frame_of(answers, schema("predictions"))], tasks)
    table = consistency_table(frame_of(rows, schema("replicates")), given)
    row_with_guide = table[(table["control"] == "none") & (table["with"] == "guide")]
    for name, expected in found.items():
        given = row_with_guide[[f"{name}_low", f"{name}_high"]].to_numpy(float)[0]
        np.testing.assert_allclose(given, expected, atol=1e-9, err_msg=name)


def studies(
    setting: Setting, n: int, draws: int, rng: np.random.Generator
) -> Iterator[tuple[dict[str, tuple[float, float]], dict[str, Array]]]:
    """Intervals of studies, and the values that their networks have on all pictures."""
    weights = draw_counts(setting.digits, DRAWS).astype(np.float32)
    for index in range(draws):
        made = networks(setting, n, rng)
        wrong = errors(setting, made, rng)
        found = limits(wrong, weights)
        if index < CHECKED:
            check(wrong, found)
        yield found, contrasts(*true_kappas(made))


def coverage(
    setting: Setting, n: int, draws: int, rng: np.random.Generator
) -> Iterator[tuple[str, str, float]]:
    """Columns, what their intervals hold, and how often."""
    of_all = contrasts(*true_kappas(networks(setting, MANY, rng)))
    made = list(studies(setting, n, draws, rng))
    for name, value in of_all.items():
        low, high = np.array([found[name] for found, _ in made]).T
        truth = np.array([truths[name] for _, truths in made])
        for kind in setting.holds:
            yield name, kind, share(low, high, truth if kind == THESE else value)


def measure(draws: int) -> dict[str, Figures]:
    """Every figure by its row and the number of seeds."""
    figures: dict[str, Figures] = {}
    for n, (label, setting) in product(NUM_SEEDS, SETTINGS.items()):
        rng = np.random.default_rng([n, *label.encode()])
        for name, kind, value in coverage(setting, n, draws, rng):
            figures.setdefault(f"coverage: {name} {kind}, {label}", {})[n] = value
    return figures


def main() -> None:
    """Print the rows, as Markdown or JSON."""
    tell(measure, __doc__.splitlines()[0], NUM_DRAWS)


if __name__ == "__main__":
    main()
