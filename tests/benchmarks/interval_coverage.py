"""How often the intervals hold the truth, and how often verdicts are wrong, over simulated seeds.

Run: python tests/benchmarks/interval_coverage.py [--draws N] [--json]

About a minute on one CPU core. Prints the tables of docs/statistics.md. Some draws are checked by
the package's own functions.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from analysis import cells, equivalence, statistics, verdicts
from analysis.cells import TaskMetrics
from analysis.schema import frame_of, schema
from analysis.transfer import transfer_table
from analysis.two_way import two_way_interval

NUM_SEEDS = (3, 5, 9, 12, 30)
NUM_DRAWS = 20_000
NUM_CLUSTERS = 100
#: Draws on which the package's functions are compared with those for all draws at once.
CHECKED = 20
CHANCE, LEVEL, SPREAD = 0.1, 0.8, 0.02

Array = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]
Figures = dict[int, float]


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Seeds of mean 0 and standard deviation 1."""
    return rng.standard_normal(shape)


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """An exponential tail of bad seeds."""
    return 1 - rng.standard_exponential(shape)


def bimodal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Seeds that learn (70%) or do not (30%), far apart, with a little spread in either."""
    learnt = rng.random(shape) < 0.7
    modes = np.where(learnt, np.sqrt(3 / 7), -np.sqrt(7 / 3))
    values: Array = (modes + 0.1 * rng.standard_normal(shape)) / np.sqrt(1.01)
    return values


SHAPES: dict[str, Draw] = {"normal": normal, "skewed": skewed, "bimodal": bimodal}


def _critical(freedom: Array | int) -> Array:
    return np.asarray(special.stdtrit(freedom, (1 + statistics.CONFIDENCE) / 2))


def paired_t(difference: Array) -> tuple[Array, Array]:
    """Limits (draws,) of the interval of differences (draws, n)."""
    n = difference.shape[1]
    half = _critical(n - 1) * difference.std(1, ddof=1) / np.sqrt(n)
    return difference.mean(1) - half, difference.mean(1) + half


def fieller(numerator: Array, denominator: Array) -> tuple[Array, Array]:
    """Limits (draws,) of ratios of means; NaN unless the denominator's interval is above zero."""
    n = numerator.shape[1]
    a, b = numerator.mean(1), denominator.mean(1)
    scale = _critical(n - 1) ** 2 / (n * (n - 1))
    first, second = numerator - a[:, None], denominator - b[:, None]
    v_aa, v_bb = scale * (first**2).sum(1), scale * (second**2).sum(1)
    v_ab = scale * (first * second).sum(1)
    square, half_linear, constant = b * b - v_bb, a * b - v_ab, a * a - v_aa
    root = np.sqrt(np.maximum(0, half_linear**2 - square * constant))
    square = np.where((square > 0) & (b > 0), square, np.nan)
    return (half_linear - root) / square, (half_linear + root) / square


def two_way(values: Array) -> tuple[Array, Array]:
    """Limits (draws,) of the interval of `values` (draws, seeds, clusters)."""
    _, num_seeds, num_clusters = values.shape
    mean = values.mean((1, 2))
    of_seed, of_cluster = values.mean(2), values.mean(1)
    centred = values - of_seed[:, :, None] - of_cluster[:, None, :] + mean[:, None, None]
    freedom = np.array([num_seeds - 1, num_clusters - 1, (num_seeds - 1) * (num_clusters - 1)])
    seed = num_clusters * of_seed.var(1, ddof=1)
    cluster = num_seeds * of_cluster.var(1, ddof=1)
    rest = (centred**2).sum((1, 2)) / freedom[2]
    both = cluster > rest
    variance = np.where(both, seed + cluster - rest, seed)
    squares = np.stack([seed, cluster, rest]) ** 2 / freedom[:, None]
    degrees = np.where(both, variance**2 / squares.sum(0), freedom[0])
    half = _critical(degrees) * np.sqrt(variance / (num_seeds * num_clusters))
    return mean - half, mean + half


def _share(low: Array, high: Array, truth: float) -> float:
    """Share of the defined intervals that hold the truth."""
    defined = np.isfinite(low)
    return float(((low <= truth) & (truth <= high))[defined].mean())


def _same(found: Iterable[float | None], low: float, high: float) -> None:
    """Raise AssertionError where the package gives other limits."""
    expected = [low, high] if np.isfinite(low) else [None, None]
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None), (one, other)
        assert one is None or other is None or abs(one - other) < 1e-9, (one, other)


def coverage_of_t(shape: str, n: int, draws: int, rng: np.random.Generator) -> float:
    """Coverage of the paired t interval: seeds of a shape against normal ones of less spread."""
    guided = SHAPES[shape](rng, (draws, n))
    baseline = normal(rng, (draws, n)) * (1 if shape == "normal" else 0.25)
    low, high = paired_t(guided - baseline)
    for index in range(min(CHECKED, draws)):
        found = statistics.paired_difference(guided[index], baseline[index])
        _same((found.low, found.high), low[index], high[index])
    return _share(low, high, 0.0)


def coverage_of_fieller(shape: str, n: int, draws: int, rng: np.random.Generator) -> float:
    """Coverage of the part of a lead that is closed, among the studies that have an interval.

    The guided seeds are of a shape; of the lead of 6 standard deviations they close a half.
    """
    spread = 1 if shape == "normal" else 0.25
    baseline = spread * normal(rng, (draws, n))
    guided = 3 + SHAPES[shape](rng, (draws, n)) - baseline
    guide = 6 + spread * normal(rng, (draws, n)) - baseline
    low, high = fieller(guided, guide)
    for index in range(min(CHECKED, draws)):
        found = statistics.ratio_of_means(guided[index], guide[index])
        _same((found.low, found.high), low[index], high[index])
    return _share(low, high, 0.5)


def coverage_of_two_way(
    shape: str, n: int, draws: int, rng: np.random.Generator, *, seeds_alone: bool = False
) -> float:
    """Coverage of the effect on new seeds *and* new clusters of test examples.

    Seeds and clusters give a third of the variance of the mean over 5 seeds each. With
    `seeds_alone` the interval is that over seeds, given one test set.
    """
    draw = SHAPES[shape]
    held: list[float] = []
    for size in _parts(draws, 200):
        rows = 0.1 * draw(rng, (size, n, 1))
        columns = 0.45 * draw(rng, (size, 1, NUM_CLUSTERS))
        values = rows + columns + rng.standard_normal((size, n, NUM_CLUSTERS))
        limits = paired_t(values.mean(2)) if seeds_alone else two_way(values)
        if not held and not seeds_alone:
            for index in range(min(CHECKED, size)):
                found = two_way_interval(values[index])
                assert found is not None
                _same((found.low, found.high), limits[0][index], limits[1][index])
        held.append(_share(*limits, 0.0) * size)
    return sum(held) / draws


def _parts(total: int, size: int) -> Iterator[int]:
    yield from (min(size, total - at) for at in range(0, total, size))


@dataclass(frozen=True, kw_only=True)
class Case:
    """A truth, and the beginnings of the verdicts that are wrong of it.

    `shape` is of the guided seeds; those of other arms are normal, with a quarter of the spread
    unless the guided ones are normal too. `effect` of guidance, and of the controls by name, is in
    standard deviations of the seeds. Of guided seeds `failing` are lost; with these at chance,
    guidance has the effect.
    """

    shape: str = "normal"
    effect: float = 0.0
    controls: tuple[tuple[str, float], ...] = ()
    failing: float = 0.0
    conditions: int = 1
    #: Largest difference that counts as none, in standard deviations of the seeds.
    margin: float | None = None
    #: Whether the condition with the largest difference alone is looked at.
    best: bool = False
    wrong: tuple[str, ...] = ("helps",)


#: Guidance that helps beyond doubt, as much as one or two controls do.
_STRONG, _NONE = 20.0, 0.0
CASES = {
    **{
        f"no effect, {shape} seeds": Case(shape=shape, wrong=("helps", "hurts")) for shape in SHAPES
    },
    "no effect, a tenth of guided seeds fail": Case(failing=0.1, wrong=("helps", "hurts")),
    "as good as labels alone": Case(
        effect=_STRONG,
        controls=(("shuffled", _NONE), ("input", _NONE), ("labels", _STRONG)),
        wrong=("helps, guide-specific",),
    ),
    "as good as two controls": Case(
        effect=_STRONG,
        controls=(("shuffled", _NONE), ("input", _STRONG), ("labels", _STRONG)),
        wrong=("helps, guide-specific",),
    ),
    "an effect as large as the margin": Case(effect=1, margin=1, wrong=("no effect",)),
    "any of 20 conditions without effect": Case(conditions=20),
    "best of 5 alphas without effect": Case(conditions=5, best=True),
}
_TASKS = {
    "toy": TaskMetrics(
        primary_metric="accuracy",
        higher_is_better={"accuracy": True},
        chance={"accuracy": CHANCE},
    )
}


@dataclass(frozen=True)
class Studies:
    """Simulated studies of k conditions: values (draws, n) or (draws, k, n), and lost seeds."""

    baseline: Array
    guided: Array
    lost: npt.NDArray[np.bool_]
    controls: dict[str, Array]


def simulate(case: Case, n: int, draws: int, rng: np.random.Generator) -> Studies:
    """Studies of n seeds in which a case is the truth."""
    spread = SPREAD * (1 if case.shape == "normal" else 0.25)
    shape = (draws, case.conditions, n)
    above = case.failing / (1 - case.failing) * (LEVEL - CHANCE)
    return Studies(
        baseline=LEVEL + spread * normal(rng, (draws, n)),
        guided=LEVEL + above + SPREAD * (case.effect + SHAPES[case.shape](rng, shape)),
        lost=rng.random(shape) < case.failing,
        controls={
            name: LEVEL + SPREAD * effect + spread * normal(rng, (draws, n))
            for name, effect in case.controls
        },
    )


class _Differences:
    """Means, intervals and tests of differences (..., n), of which `known` count.

    Limits and errors are NaN for less than three.
    """

    def __init__(self, values: Array, known: npt.NDArray[np.bool_] | None = None) -> None:
        mask = np.ones(values.shape, bool) if known is None else known
        count = mask.sum(-1)
        self.mean = np.where(mask, values, 0).sum(-1) / np.maximum(count, 1)
        squares = np.where(mask, (values - self.mean[..., None]) ** 2, 0).sum(-1)
        self.freedom = np.where(count >= statistics.MIN_SEEDS, count - 1, np.nan)
        self.error = np.sqrt(squares / self.freedom / np.maximum(count, 1))
        half = _critical(self.freedom) * self.error
        self.low, self.high = self.mean - half, self.mean + half

    def within(self, margin: float) -> npt.NDArray[np.bool_]:
        """Whether two one-sided tests say that the difference is smaller than a margin."""
        half = special.stdtrit(self.freedom, 1 - equivalence.LEVEL) * self.error
        found: npt.NDArray[np.bool_] = np.abs(self.mean) + half < margin
        return found


def decided(case: Case, studies: Studies) -> dict[str, npt.NDArray[np.bool_]]:
    """Where (draws, k) a verdict that is wrong of a case is given; and after adjustment."""
    baseline = studies.baseline[:, None]
    difference = _Differences(studies.guided - baseline, ~studies.lost)
    worst = _Differences(np.where(studies.lost, CHANCE, studies.guided) - baseline)
    highest = np.where(studies.lost, -np.inf, studies.guided).max(-1, keepdims=True)
    best = _Differences(np.where(studies.lost, highest, studies.guided) - baseline)
    whole = ~studies.lost.any(-1)
    none = np.zeros(difference.mean.shape, bool)
    if case.margin is not None:
        none = difference.within(SPREAD * case.margin) & whole
    helps = (difference.low > 0) & (whole | (worst.low > 0)) & ~none
    beaten = [
        _Differences(studies.guided - control[:, None]).low > 0
        for control in studies.controls.values()
    ]
    found = {
        "no effect": none,
        "helps": helps,
        "hurts": (difference.high < 0) & (whole | (best.high < 0)) & ~none,
        "helps, guide-specific": np.logical_and.reduce([helps, *beaten]),
    }
    wrong = {f"verdict {name!r}": found[name] for name in case.wrong}
    if case.conditions > 1:
        p = 2 * special.stdtr(difference.freedom, -np.abs(difference.mean) / difference.error)
        kept = stats.false_discovery_control(p, axis=1) < verdicts.FALSE_DISCOVERY_RATE
        wrong |= {f"verdict_adjusted {name!r}": found[name] & kept for name in case.wrong}
    if case.failing:
        wrong["coverage: difference_worst"] = (worst.low <= 0) & (worst.high >= 0)
    if case.best:
        chosen = difference.mean.argmax(1)[:, None]
        wrong = {name: np.take_along_axis(given, chosen, 1) for name, given in wrong.items()}
    return wrong


def wrong_verdicts(case: Case, n: int, draws: int, rng: np.random.Generator) -> dict[str, float]:
    """Shares of studies with a wrong verdict, and other figures, by name."""
    studies = simulate(case, n, draws, rng)
    found = decided(case, studies)
    _check_against_table(case, studies, found)
    return {name: float(given.any(1).mean()) for name, given in found.items()}


def _check_against_table(
    case: Case, studies: Studies, found: dict[str, npt.NDArray[np.bool_]]
) -> None:
    """Raise AssertionError where the `transfer` table of some studies has other verdicts."""
    checked = min(CHECKED, len(studies.baseline))
    rows = [row for index in range(checked) for row in _rows(studies, index)]
    replicates = frame_of(rows, schema("replicates", ["accuracy"]))
    margins = {} if case.margin is None else {"accuracy": SPREAD * case.margin}
    table = transfer_table(replicates, frame_of([], schema("history")), _TASKS, margins=margins)
    table = table[table["control"] == "none"]
    if case.best:
        table = table.loc[table.groupby("study", sort=False)["difference"].idxmax()]
    for name, given in found.items():
        column, _, wrong = name.partition(" ")
        if column.startswith("verdict"):
            expected = table[column].str.startswith(wrong.strip("'"))
            assert expected.tolist() == given[:checked].ravel().tolist(), (case, name)


def _rows(studies: Studies, index: int) -> Iterator[dict[str, object]]:
    """Rows of the `replicates` table of one study."""
    study, kept = str(index), np.zeros(studies.baseline.shape[1], bool)
    arms = [("baseline", "baseline", 0, studies.baseline[index], kept)]
    guided = zip(studies.guided[index], studies.lost[index], strict=True)
    arms += [("guided", "none", k, values, lost) for k, (values, lost) in enumerate(guided)]
    arms += [("control", n, 0, values[index], kept) for n, values in studies.controls.items()]
    for role, control, condition, values, lost in arms:
        for seed, (value, failed) in enumerate(zip(values, lost, strict=True)):
            row: dict[str, object] = {
                "replicate_id": f"{study}/{control}/{condition}/{seed}",
                "study": study, "task": "toy", "target": "fcn", "role": role, "seed": seed,
                "status": "failed" if failed else "finished",
                "test_accuracy": None if failed else float(value),
            }  # fmt: skip
            if role != "baseline":
                row |= {
                    "guide": "cnn", "control": control,
                    "state": None if control in ("input", cells.LABELS) else "trained",
                    "distance": "linear_cka", "mapping": "evenly_spaced",
                    "schedule": f"alpha={condition + 1}", "alpha": condition + 1.0, "num_pairs": 3,
                    "baseline_id": f"{study}/baseline/0/{seed}",
                }  # fmt: skip
            yield row


def measure(draws: int) -> dict[str, Figures]:
    """Every figure by its row and the number of seeds."""
    figures: dict[str, Figures] = {}
    intervals: dict[str, Callable[..., float]] = {
        "paired t": coverage_of_t,
        "Fieller": coverage_of_fieller,
        "two-way": coverage_of_two_way,
        "t over seeds, of other test examples": partial(coverage_of_two_way, seeds_alone=True),
    }
    for n, (name, coverage), shape in product(NUM_SEEDS, intervals.items(), SHAPES):
        rng = np.random.default_rng([n, *shape.encode()])
        found = coverage(shape, n, draws, rng)
        figures.setdefault(f"coverage: {name}, {shape} seeds", {})[n] = found
    for n, (label, case) in product(NUM_SEEDS, CASES.items()):
        rng = np.random.default_rng([n, *label.encode()])
        for name, value in wrong_verdicts(case, n, draws, rng).items():
            figures.setdefault(f"{name}, {label}", {})[n] = value
    return figures


def main() -> None:
    """Print the table, as Markdown or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=NUM_DRAWS, help="draws a figure")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    figures = measure(given.draws)
    if given.json:
        print(json.dumps(figures))
        return
    print(f"| figure | {' | '.join(f'n {n}' for n in NUM_SEEDS)} |")
    print(f"|---|{'---|' * len(NUM_SEEDS)}")
    for label, row in figures.items():
        print(f"| {label} | {' | '.join(f'{row.get(n, 0):.3f}' for n in NUM_SEEDS)} |")


if __name__ == "__main__":
    main()
