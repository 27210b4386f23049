"""Cost of a guided training step in multiples of the plain step, on one CPU thread or one GPU.

    python tests/benchmarks/guided_step.py [SETTING ...] [--guides] [--json]

Random data of each setting's shapes, networks as they are initialised, biased linear CKA, evenly
spaced pairs. Medians, interleaved in one process (five steps of each in turn), of the time of
`Run.step` as training calls it: on a CPU the thread's processor time (other work on the machine
counts less than on the wall), on a GPU the wall-clock time until all five are done:

    plain       the target alone: batch, forward, loss, backward, update
    naive       guidance as first published: guide forward, the target forward once for the loss and
                once more for its taps, HSIC with a centring matrix, six Gram matrices a pair
    cached      guidance with the guide's Gram matrices kept
    features    guidance with the guide's features kept
    live        guidance with a forward of the guide in every step
    live_floor  a plain step and a forward of the guide
    live_bound  that, and the bare matrix products of live guidance: XX' of every tap on both sides,
                and a product of each target tap's gradient

With `--guides`, of mixtures of 1, 2 and 4 guides of one architecture, features kept or live: what k
guides add to the plain step, in multiples of the sum of what each adds alone. The goal beside it is
that sum less k - 1 times what it takes to prepare the target's side (its Gram matrices).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from tests.helpers.conditions import guidance_of, term_of
from trainers import architectures
from trainers.architectures import ARCHITECTURES
from trainers.architectures.convolutional import ResNet
from trainers.architectures.taps import record
from trainers.conditions.cache_form import Cache
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Guide
from trainers.conditions.training import TrainSettings
from trainers.controls.none import GuideSource
from trainers.distances.linear_cka import LinearCKA
from trainers.guides.cached_features import CachedGrams, fill
from trainers.guides.frozen import FrozenGuide
from trainers.mappings import evenly_spaced
from trainers.runtime.devices import default_device
from trainers.runtime.streams import isolated
from trainers.tasks import TASKS, Classification, InputSpec, OutputSpec, Split
from trainers.training.loop import Run
from trainers.training.setup import RunSetup

SECONDS_PER_SETTING = 15.0
#: Of mixtures, whose steps take up to half a second: in 15 seconds there are three of each.
SECONDS_PER_MIXTURE = 130.0
#: As in training, a step finds in the processor's caches what the same kind of step left there.
STEPS_AT_A_TIME = 5
NUM_VALIDATION = 64
#: Numbers of guides in a mixture.
NUM_GUIDES = (1, 2, 4)


@TASKS.register("benchmark_data")
class RandomData(Classification):
    """Normal inputs of some shape, and random labels of 10 classes."""

    def __init__(self, *, length: int = 28, image: bool = True, num_train: int = 3000) -> None:
        shape = (1, length, length) if image else (1, length)
        self.input = InputSpec(kind="image" if image else "signal", shape=shape)
        self.output = OutputSpec(num_classes=10)
        self.num_train: int = num_train

    def load(self) -> Mapping[str, Split]:
        """Splits, the same in every process."""
        generator = torch.Generator().manual_seed(0)
        counts = {"train": self.num_train, "validation": NUM_VALIDATION, "test": NUM_VALIDATION}
        return {name: self._split(count, generator) for name, count in counts.items()}

    def _split(self, count: int, generator: torch.Generator) -> Split:
        inputs = torch.randn(count, *self.input.shape, generator=generator)
        return Split(inputs, torch.randint(10, (count,), generator=generator))


@ARCHITECTURES.register("benchmark_resnet14", inputs=("image",))
def resnet14(input: InputSpec, output: OutputSpec) -> ResNet:
    """Six basic blocks at full resolution and below: 14 taps, 16 x 28 x 28 = 12544 wide at most."""
    widths = (16, 16, 16, 32, 32, 64, 64)
    return ResNet(input, output.num_outputs, widths, stem_stride=1, plain=False)


@dataclass(frozen=True)
class TrialContext:
    """Shapes of a study: its data, its target and its guide."""

    data: dict[str, int | bool]
    target: dict[str, int]
    guide: str
    batch_size: int


SETTINGS = {
    "translated_digits": TrialContext(
        {"length": 16, "image": True, "num_train": 3891},
        {"depth": 4, "width": 256},
        "resnet2d",
        100,
    ),
    "mnist1d": TrialContext(
        {"length": 40, "image": False, "num_train": 3500},
        {"depth": 10, "width": 128},
        "resnet1d",
        100,
    ),
    # Fewer examples than the data set has: Gram matrices are made in seconds, and features are
    # below the size up to which they are kept.
    "fashion_mnist": TrialContext(
        {"length": 28, "image": True, "num_train": 2500},
        {"depth": 20, "width": 256},
        "benchmark_resnet14",
        128,
    ),
}


def condition_of(setting: TrialContext) -> Condition:
    """The guided condition of a setting."""
    return Condition(
        task=TASKS.component("benchmark_data", **setting.data),
        target=ARCHITECTURES.component("fcn", **setting.target),
        train=TrainSettings(steps=100_000, batch_size=setting.batch_size),
        treatment=guidance_of(
            guide=Guide(
                architecture=ARCHITECTURES.component(setting.guide),
                state="untrained",
                batch_norm="eval",
            )
        ),
    )


def hsic(left: Tensor, right: Tensor) -> Tensor:
    """The estimate of Gretton et al. 2005: tr(K H L H) / (n - 1)^2 with H = 1 - 1/n."""
    n = len(left)
    centring = torch.eye(n, device=left.device) - 1 / n
    grams = left @ left.T, right @ right.T
    return torch.trace(grams[0] @ centring @ grams[1] @ centring) / (n - 1) ** 2


def naive_distance(target: Tensor, guide: Tensor) -> Tensor:
    """1 - linear CKA, written down as it is defined."""
    own = (hsic(target, target) * hsic(guide, guide)).sqrt()
    return 1 - hsic(target, guide) / own


class NaiveRun(Run):
    """The target trained with the plain formulas."""

    guide: FrozenGuide

    def train_loss(self, step: int, outputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        inputs, labels, *_ = self.batches[step]
        loss = functional.cross_entropy(self.network(inputs), labels)
        features = self.guide.forward(inputs)
        self.network(inputs)
        for pair in evenly_spaced(self.network.taps, self.guide.taps, torch.empty):
            # A clone, because autograd does not keep what was made under inference mode.
            guide = features[pair.guide].flatten(1).clone()
            loss = loss + naive_distance(outputs[pair.target].flatten(1), guide)
        return loss, {"train/loss": loss.detach()}


def runs_of(setting: TrialContext) -> tuple[dict[str, Run], FrozenGuide]:
    """A run for each way to take a step, and the guide."""
    condition = condition_of(setting)
    kept, live = _guide(condition, seed=1)
    baseline = replace(condition, treatment=None)
    naive = NaiveRun(RunSetup.of(baseline, 0), (), _silent)
    naive.guide = live
    runs = {
        "plain": Run(RunSetup.of(baseline, 0), (), _silent),
        "naive": naive,
        "cached": Run(RunSetup.of(condition, 0), [GuideSource(kept, None, _grams(kept))], _silent),
        "features": Run(RunSetup.of(condition, 0), [GuideSource(kept)], _silent),
        "live": Run(RunSetup.of(condition, 0), [GuideSource(live)], _silent),
    }
    return runs, live


def mixtures_of(setting: TrialContext) -> dict[str, Run]:
    """A plain run; with features kept and live, each guide alone and each number of guides."""
    condition = condition_of(setting)
    guides = [_guide(condition, seed=seed) for seed in range(max(NUM_GUIDES))]
    alone = condition.guidance
    assert alone is not None

    def run(sources: Sequence[FrozenGuide]) -> Run:
        guidance = replace(alone, terms=alone.terms * len(sources))
        mixed = RunSetup.of(replace(condition, treatment=guidance), 0)
        return Run(mixed, [GuideSource(each) for each in sources], _silent)

    runs = {"plain": Run(RunSetup.of(replace(condition, treatment=None), 0), (), _silent)}
    for form, of in (("features", [kept for kept, _ in guides]), ("live", [x for _, x in guides])):
        runs |= {f"{form} alone {place}": run([guide]) for place, guide in enumerate(of)}
        runs |= {f"{form} {number}": run(of[:number]) for number in NUM_GUIDES[1:]}
    return runs


def _guide(condition: Condition, *, seed: int) -> tuple[FrozenGuide, FrozenGuide]:
    """The guide with weights of its own, its features kept and live."""
    task = TASKS[condition.task.name].factory(**condition.task.kwargs)
    torch.manual_seed(seed)
    guide = term_of(condition).guide.architecture
    network = architectures.build(guide, task.input, task.output)
    device = default_device()
    return FrozenGuide(network, task, device), FrozenGuide(network, task, device, coupled=True)


def _grams(guide: FrozenGuide) -> CachedGrams:
    """The guide's Gram matrices, in memory."""
    arrays: dict[str, Tensor] = {}

    def allocate(name: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        arrays[name] = torch.empty(tuple(shape), dtype=dtype, device=guide.device)
        return arrays[name]

    cache = Cache(form="gram", feature_bytes=0)
    fill(guide, guide.task.train.inputs, None, "examples", cache, allocate)
    return CachedGrams(arrays, guide.taps)


def measure(setting: TrialContext) -> dict[str, float]:
    """Median milliseconds of the plain step, and the other ways in multiples of it."""
    runs, guide = runs_of(setting)
    with ExitStack() as stack:
        steps = {name: _stepper(run, stack) for name, run in runs.items()}
        medians = _medians(steps | _pieces(runs["live"], guide), guide.device, SECONDS_PER_SETTING)
    plain, forward, products = (medians.pop(name) for name in ("plain", "forward", "products"))
    ratios = {name: value / plain for name, value in medians.items()}
    floor = plain + forward
    return {
        "plain_ms": plain,
        **ratios,
        "live_floor": floor / plain,
        "live_bound": (floor + products) / plain,
    }


def measure_mixtures(setting: TrialContext) -> dict[str, float]:
    """Median milliseconds of the plain step, and what k guides add over what each adds alone.

    Of one guide: its step in multiples of the plain one.
    """
    runs = mixtures_of(setting)
    with ExitStack() as stack:
        steps = {name: _stepper(run, stack) for name, run in runs.items()}
        steps |= {"target": _target_side(runs["features alone 0"])}
        medians = _medians(steps, default_device(), SECONDS_PER_MIXTURE)
    plain, target = medians.pop("plain"), medians.pop("target")
    figures = {"plain_ms": plain, "target_ms": target}
    for form in ("features", "live"):
        alone = [medians[f"{form} alone {guide}"] - plain for guide in range(max(NUM_GUIDES))]
        figures[f"{form} 1"] = alone[0] / plain + 1
        for number in NUM_GUIDES[1:]:
            added, each = medians[f"{form} {number}"] - plain, sum(alone[:number])
            figures[f"{form} {number}"] = added / each
            figures[f"{form} {number} goal"] = 1 - (number - 1) * target / each
    return figures


def _target_side(run: Run) -> Callable[[int], object]:
    """The target's side of the distance to any guide, tap by tap, without gradient."""
    distance = LinearCKA()
    with torch.no_grad(), record(run.network, run.guided_taps) as outputs:
        run.network(run.batches[0].inputs)
    targets = [output.flatten(1) for output in outputs.values()]
    return torch.no_grad()(lambda _step: [distance.side(target) for target in targets])


def _medians(
    steps: Mapping[str, Callable[[int], object]], device: torch.device, seconds: float
) -> dict[str, float]:
    """Median milliseconds of each kind of step, in turns."""
    now = _clock(device)
    times: dict[str, list[float]] = {name: [] for name in steps}
    step, end = 0, time.perf_counter() + seconds
    while step < 2 * STEPS_AT_A_TIME or time.perf_counter() < end:
        for name, take in steps.items():
            started = now()
            for index in range(step, step + STEPS_AT_A_TIME):
                take(index)
            times[name].append(1e3 * (now() - started) / STEPS_AT_A_TIME)
        step += STEPS_AT_A_TIME
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def _clock(device: torch.device) -> Callable[[], float]:
    """Seconds of work that is done."""
    if device.type != "cuda":
        return time.thread_time

    def now() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return now


def _stepper(run: Run, stack: ExitStack) -> Callable[[int], object]:
    """One step of a run as its loop takes it."""
    run.network.train()
    taps = run.network.taps if isinstance(run, NaiveRun) else run.guided_taps
    outputs = stack.enter_context(record(run.network, taps))

    def take(step: int) -> None:
        run.window.add(run.step(step, outputs))
        outputs.clear()

    return take


def _pieces(run: Run, guide: FrozenGuide) -> dict[str, Callable[[int], object]]:
    """What live guidance cannot do without: the guide's forward, and the matrix products."""
    inputs = run.batches[0].inputs
    with torch.no_grad(), record(run.network, run.guided_taps) as outputs:
        run.network(inputs)
    targets = [output.flatten(1) for output in outputs.values()]
    guides = [output.flatten(1) for output in guide.forward(inputs).values()]

    @torch.no_grad()
    def products(_step: int) -> None:
        for features in guides:
            features @ features.T
        for features in targets:
            (features @ features.T) @ features

    return {"forward": lambda _step: guide.forward(inputs), "products": products}


def _silent(_payload: object) -> None:
    """Nothing is reported."""


def main() -> None:
    """Measure the settings and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="*", metavar="SETTING", help=", ".join(SETTINGS))
    parser.add_argument("--guides", action="store_true", help="mixtures of 1, 2 and 4 guides")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    take = measure_mixtures if arguments.guides else measure
    with isolated(threads=1):
        results = {name: take(SETTINGS[name]) for name in arguments.settings or SETTINGS}
    if arguments.json:
        print(json.dumps(results))
        return
    columns = list(next(iter(results.values())))
    print(f"{'':>18}", *(f"{column:>10}" for column in columns))
    for name, row in results.items():
        print(f"{name:>18}", *(f"{row[column]:>10.2f}" for column in columns))


if __name__ == "__main__":
    main()
