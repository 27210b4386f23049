"""A trace of a few training steps of a replicate, as PyTorch's profiler records them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from trainers.errors import first_line
from trainers.messages import Report, Traced, Warned
from trainers.runtime.devices import default_device
from trainers.store.store import Store

#: Steps that pass first (data and caches are new, code is compiled), steps in which the profiler
#: warms up, and steps of the trace; a replicate with fewer has fewer of the first two.
SKIPPED_STEPS, WARM_UP_STEPS, TRACED_STEPS = 10, 2, 5

#: Context of the training steps that are left, by their number; called after each of them.
Tracing = Callable[[int], AbstractContextManager[Callable[[], object]]]


@contextmanager
def untraced(_num_steps: int) -> Iterator[Callable[[], object]]:
    """Context of steps that leave no trace."""
    yield lambda: None


def tracing(store: Store, replicate_id: str, report: Report) -> Tracing:
    """Context of a replicate's steps, some of which `<store>/profiles/<id>.json.gz` then has.

    The trace is in Chrome's format: operators, kernels of a GPU, and the functions of Python that
    called them. `report` gets `Traced` when it is written. Nothing that is computed changes.
    """
    return partial(_traced, store, replicate_id, report)


@contextmanager
def _traced(
    store: Store, replicate_id: str, report: Report, num_steps: int
) -> Iterator[Callable[[], object]]:
    from torch.profiler import ProfilerAction, ProfilerActivity, profile

    recorded = min(TRACED_STEPS, num_steps)
    warm_up = min(WARM_UP_STEPS, num_steps - recorded)
    first = min(SKIPPED_STEPS + warm_up, num_steps - recorded)

    def action(step: int) -> ProfilerAction:
        if not first - warm_up <= step < first + recorded:
            return ProfilerAction.NONE
        if step < first:
            return ProfilerAction.WARMUP
        last = step == first + recorded - 1
        return ProfilerAction.RECORD_AND_SAVE if last else ProfilerAction.RECORD

    def write(profiler: profile) -> None:
        if profiler.step_num < first + recorded:
            # Training has stopped among the steps that are recorded.
            return
        name = f"profiles/{replicate_id}.json.gz"
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "trace.json.gz")
                profiler.export_chrome_trace(str(path))
                store.root.at_once().write(name, path.read_bytes())
        except OSError as error:
            # Training goes on without it.
            report(Warned(replicate_id=replicate_id, text=f"no trace: {first_line(error)}"))
            return
        report(Traced(replicate_id=replicate_id, path=f"{store.uri}/{name}"))

    activities = {ProfilerActivity.CPU}
    if default_device().type == "cuda":
        activities.add(ProfilerActivity.CUDA)
    with profile(
        activities=activities, schedule=action, on_trace_ready=write, with_stack=True
    ) as profiler:
        yield profiler.step
