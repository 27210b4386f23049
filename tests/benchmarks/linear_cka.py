"""Speed of linear CKA, forward and backward on one CPU thread or one GPU, random normal features.

    python tests/benchmarks/linear_cka.py [--json]

Medians in milliseconds, interleaved in one process. Each round of a setting times, on the same
features: ours with the guide computed too, ours with a prepared guide, and yardsticks: a
well-written autograd version of the same estimate in n x n form, the two bare matrix products that
the n x n form with a prepared guide cannot do without, and for the unbiased estimate, the only one
that it has, the library pytorch-cka. Before them, the peak memory of the process that the guidance
of a step takes (on a CPU).
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from cka import cka_from_features
from torch import Tensor

from trainers import distances
from trainers.distances import GuideGrams
from trainers.runtime.devices import default_device

SETTINGS = [
    (64, 1024),
    *((n, width) for n in (256, 1024) for width in (128, 1024, 4096, 16384)),
]
SECONDS_PER_SETTING = 3.0
#: Of the memory of a guided step: rows, width of either side, pairs.
MEMORY_SETTING = (256, 16384, 16)


def autograd_cka(target: Tensor, guide: Tensor, *, unbiased: bool) -> Tensor:
    """The same distance, differentiated by autograd; features centred before the products."""
    grams = []
    for features in (target, guide):
        centred = features - features.mean(0)
        gram = centred @ centred.T
        if unbiased:
            n = len(gram)
            gram = gram - torch.diag_embed(gram.diagonal())
            means = gram.sum(0) / (n - 2)
            gram = gram - means - means[:, None] + means.sum() / (n - 1)
            gram = gram - torch.diag_embed(gram.diagonal())
        grams.append(gram)
    left, right = grams
    norms = torch.linalg.vector_norm(left) * torch.linalg.vector_norm(right)
    similarity: Tensor = torch.dot(left.flatten(), right.flatten()) / norms
    return 1 - similarity


def contenders(target: Tensor, guide: Tensor, *, unbiased: bool) -> dict[str, Callable[[], None]]:
    """What is timed, by name; each call leaves the gradient in `target.grad`."""
    distance = distances.create("linear_cka", unbiased=unbiased)
    prepared = distance.prepare(guide)

    def step(compute: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            target.grad = None
            compute().backward()  # type: ignore[no-untyped-call]

        return run

    def products() -> None:
        with torch.no_grad():
            gram = target @ target.T
            torch.mm(gram, target)

    peer = {"pytorch-cka": step(lambda: 1 - cka_from_features(target, guide).squeeze())}
    return {
        "ours": step(lambda: distance(target, guide)),
        "ours, prepared": step(lambda: distance(target, prepared)),
        "autograd": step(lambda: autograd_cka(target, guide, unbiased=unbiased)),
        "two products": products,
    } | (peer if unbiased else {})


def measure(n: int, width: int, *, unbiased: bool) -> dict[str, float]:
    """Median milliseconds of each contender."""
    generator = torch.Generator().manual_seed(0)
    device = default_device()
    target = torch.randn(n, width, generator=generator).to(device).requires_grad_()
    guide = torch.randn(n, width, generator=generator).to(device)
    runs = contenders(target, guide, unbiased=unbiased)
    times: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + SECONDS_PER_SETTING
    while len(times["ours"]) < 4 or time.perf_counter() < end:
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def peak_memory() -> dict[str, float]:
    """Peak MiB that guidance takes beside features, by what is given of the guide.

    A process's peak never falls, so that the smaller is measured first. The targets' gradients, one
    n x p each, are part of it; `bound` is n (p + n) numbers a pair.
    """
    n, width, pairs = MEMORY_SETTING
    generator = torch.Generator().manual_seed(0)
    targets = [torch.randn(n, width, generator=generator).requires_grad_() for _ in range(pairs)]
    guides = [torch.randn(n, width, generator=generator) for _ in range(pairs)]
    grams = GuideGrams(
        [str(index) for index in range(pairs)],
        torch.stack([guide @ guide.T for guide in guides]),
        torch.stack([guide.square().sum() for guide in guides]),
    )
    meets = [[index] for index in range(pairs)]
    distance = distances.create("linear_cka")
    given: dict[str, Callable[[], Tensor]] = {
        "grams": lambda: distance.to_grams(targets, grams, meets),
        "features": lambda: distance.all(targets, guides, meets),
    }
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    extra = {"bound": pairs * n * (width + n) * 4 / 2**20}
    for name, compute in given.items():
        gradients = torch.autograd.grad(compute().sum(), targets)
        extra[name] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
        del gradients
    return extra


def main() -> None:
    """Measure all settings and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    as_json = parser.parse_args().json
    torch.set_num_threads(1)
    memory = peak_memory()
    rows = [
        {"n": n, "width": width, "unbiased": unbiased, **measure(n, width, unbiased=unbiased)}
        for unbiased in (False, True)
        for n, width in SETTINGS
    ]
    if as_json:
        content = {"benchmark": Path(__file__).stem, "unit": "ms", "rows": rows}
        print(json.dumps(content | {"peak_memory_mib": memory}))
        return
    names = [name for name in rows[-1] if name not in ("n", "width", "unbiased")]
    print(f"{'n':>5} {'width':>6} {'estimate':>9}", *(f"{name:>15}" for name in names))
    for row in rows:
        estimate = "unbiased" if row["unbiased"] else "biased"
        timed = [name for name in names if name in row]
        cells = (f"{row[name]:>8.2f} {row[name] / row['ours']:>5.2f}x" for name in timed)
        print(f"{row['n']:>5} {row['width']:>6} {estimate:>9}", *cells)
    print("peak memory beside features, MiB:", {k: round(v) for k, v in memory.items()})


if __name__ == "__main__":
    main()
