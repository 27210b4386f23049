"""How often verdicts are wrong, over simulated seeds.

Run: python tests/benchmarks/wrong_verdicts.py [--draws N] [--json]

Fifteen seconds of one CPU core. Prints rows of a table of docs/statistics.md. Some draws are
checked by the package's own tables `transfer` and `trainability`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import special, stats

sys.path.insert(0, str(Path(__file__).parents[2]))

from analysis import cells, equivalence, failures, statistics, verdicts
from analysis.cells import TaskMetrics
from analysis.contract import TRAIN_SAMPLE
from analysis.schema import frame_of, schema
from analysis.trainability import CONVERGES_BADLY, OVERFITS, UNDERFITS, trainability_table
from analysis.transfer import transfer_table
from tests.helpers.simulated_seeds import (
    CHECKED,
    NUM_SEEDS,
    SHAPES,
    Array,
    Figures,
    critical,
    normal,
    tell,
)

NUM_DRAWS = 20_000
CHANCE, LEVEL, SPREAD = 0.1, 0.8, 0.02
#: By how much networks are better on training data.
GAP = 0.1


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
    "above a control by the margin": Case(
        effect=_STRONG, controls=(("labels", _STRONG - 1),), margin=1, wrong=("no more than",)
    ),
    "above each of three controls by the margin": Case(
        effect=_STRONG,
        controls=tuple((name, _STRONG - 1) for name in ("shuffled", "input", "labels")),
        margin=1,
        wrong=("no more than",),
    ),
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
        half = critical(self.freedom) * self.error
        self.low, self.high = self.mean - half, self.mean + half

    def within(self, margin: float) -> npt.NDArray[np.bool_]:
        """Whether two one-sided tests say that the difference is smaller than a margin."""
        above: npt.NDArray[np.bool_] = self.mean - self._half > -margin
        return self.below(margin) & above

    def below(self, margin: float) -> npt.NDArray[np.bool_]:
        """Whether one of these tests says that the difference lies below a margin."""
        found: npt.NDArray[np.bool_] = self.mean + self._half < margin
        return found

    @property
    def _half(self) -> Array:
        half: Array = special.stdtrit(self.freedom, 1 - equivalence.LEVEL) * self.error
        return half


def decided(case: Case, studies: Studies) -> dict[str, npt.NDArray[np.bool_]]:
    """Where (draws, k) a verdict that is wrong of a case is given; and after adjustment."""
    baseline = studies.baseline[:, None]
    difference = _Differences(studies.guided - baseline, ~studies.lost)
    worst = _Differences(np.where(studies.lost, CHANCE, studies.guided) - baseline)
    highest = np.where(studies.lost, CHANCE, studies.guided).max(-1, keepdims=True)
    best = _Differences(np.where(studies.lost, highest, studies.guided) - baseline)
    whole = ~studies.lost.any(-1)
    none = np.zeros(difference.mean.shape, bool)
    if case.margin is not None:
        none = difference.within(SPREAD * case.margin) & whole
    helps = (difference.low > 0) & (whole | (worst.low > 0)) & ~none
    over = [_Differences(studies.guided - each[:, None]) for each in studies.controls.values()]
    no_more = none & False
    if case.margin is not None:
        no_more = helps & np.logical_or.reduce(
            [each.below(SPREAD * case.margin) for each in over], initial=False
        )
    helps &= ~no_more
    beaten = [each.low > 0 for each in over]
    found = {
        "no effect": none,
        "no more than": no_more,
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


@dataclass(frozen=True)
class Trained:
    """Targets and their guides alone: accuracies (draws, n) on training and test data."""

    target_train: Array
    target_test: Array
    guide_train: Array
    guide_test: Array


def as_trainable(shape: str, n: int, draws: int, rng: np.random.Generator) -> Trained:
    """Targets that train as well as their guide and lose as much on test data, on the mean."""
    spread = SPREAD * (1 if shape == "normal" else 0.25)
    size = (draws, n)
    target = LEVEL + GAP + SPREAD * SHAPES[shape](rng, size)
    guide = LEVEL + GAP + spread * normal(rng, size)
    return Trained(
        target_train=target,
        target_test=target - GAP + SPREAD * SHAPES[shape](rng, size),
        guide_train=guide,
        guide_test=guide - GAP + spread * normal(rng, size),
    )


def not_learning(share: float, n: int, draws: int, rng: np.random.Generator) -> Trained:
    """Targets of which a share of seeds stays at chance, and the others learn as their guide."""
    test = LEVEL + SPREAD * normal(rng, (2, draws, n))
    test[0] = np.where(rng.random((draws, n)) < share, CHANCE, test[0])
    return _with_gaps(test, rng)


def about_the_threshold(n: int, draws: int, rng: np.random.Generator) -> Trained:
    """Targets whose seeds are all about as good as the least that counts as success."""
    test = LEVEL + SPREAD * normal(rng, (2, draws, n))
    test[0] -= (1 - failures.SUCCESS) * (LEVEL - CHANCE)
    return _with_gaps(test, rng)


def _with_gaps(test: Array, rng: np.random.Generator) -> Trained:
    train = test + GAP + SPREAD * normal(rng, test.shape)
    return Trained(train[0], test[0], train[1], test[1])


def of_trainability(trained: Trained) -> dict[str, npt.NDArray[np.bool_]]:
    """Where (draws,) each verdict is given."""
    gap = _Differences(
        trained.target_train - trained.target_test - (trained.guide_train - trained.guide_test)
    )
    guide = trained.guide_test.mean(1, keepdims=True)
    learnt = trained.target_test > CHANCE + failures.SUCCESS * (guide - CHANCE)
    found = {
        OVERFITS: gap.low > 0,
        UNDERFITS: _Differences(trained.target_train - trained.guide_train).high < 0,
        CONVERGES_BADLY: learnt.any(1) & ~learnt.all(1),
    }
    checked = min(CHECKED, len(learnt))
    rows, points = _trained_rows(trained, checked)
    replicates = frame_of(rows, schema("replicates", ["accuracy"]))
    table = trainability_table(replicates, frame_of(points, schema("history")), _TASKS)
    for name, given in found.items():
        column = table[name.replace(" ", "_")].astype(bool)
        assert column.tolist() == given[:checked].tolist(), name
    return found


def _trained_rows(
    trained: Trained, checked: int
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Rows of the tables `replicates` and `history` of the first studies."""
    rows, points = [], []
    for study, seed in product(range(checked), range(trained.target_test.shape[1])):
        own, guide = f"{study}/baseline/{seed}", f"{study}/guide/{seed}"
        named = {"study": str(study), "task": "toy", "seed": seed, "status": "finished"}
        paired = {"baseline_id": own, "guide_id": guide, "guide": "cnn", "state": "trained"}
        rows += [
            named | {"replicate_id": guide, "role": "guide", "target": "cnn",
                     "test_accuracy": trained.guide_test[study, seed]},
            named | {"replicate_id": own, "role": "baseline", "target": "fcn",
                     "test_accuracy": trained.target_test[study, seed]},
            named | paired | {"replicate_id": f"{study}/guided/{seed}", "role": "guided",
                              "target": "fcn", "control": "none", "test_accuracy": LEVEL},
        ]  # fmt: skip
        for name, train in ((own, trained.target_train), (guide, trained.guide_train)):
            metric = f"{TRAIN_SAMPLE}accuracy"
            points.append(
                {"replicate_id": name, "step": 9, "metric": metric, "value": train[study, seed]}
            )
    return rows, points


def trainability(n: int, draws: int, rng: np.random.Generator) -> Iterator[tuple[str, float]]:
    """Shares of studies with a wrong verdict of trainability, by their row."""
    for shape in SHAPES:
        found = of_trainability(as_trainable(shape, n, draws, rng))
        for name in (OVERFITS, UNDERFITS):
            yield f"verdict {name!r}, no more than its guide, {shape} seeds", found[name].mean()
    found = of_trainability(about_the_threshold(n, draws, rng))
    label = f"verdict {CONVERGES_BADLY!r}, normal seeds about the threshold of success"
    yield label, found[CONVERGES_BADLY].mean()
    found = of_trainability(not_learning(0.1, n, draws, rng))
    label = f"no verdict {CONVERGES_BADLY!r}, a tenth of seeds stay at chance"
    yield label, 1 - found[CONVERGES_BADLY].mean()


def measure(draws: int) -> dict[str, Figures]:
    """Every figure by its row and the number of seeds."""
    figures: dict[str, Figures] = {}
    for n, (label, case) in product(NUM_SEEDS, CASES.items()):
        rng = np.random.default_rng([n, *label.encode()])
        for name, value in wrong_verdicts(case, n, draws, rng).items():
            figures.setdefault(f"{name}, {label}", {})[n] = value
    for n in NUM_SEEDS:
        for label, value in trainability(n, draws, np.random.default_rng([n, *b"trainability"])):
            figures.setdefault(label, {})[n] = float(value)
    return figures


def main() -> None:
    """Print the rows, as Markdown or JSON."""
    tell(measure, __doc__.splitlines()[0], NUM_DRAWS)


if __name__ == "__main__":
    main()
