"""The contract of controls: their facts, and the features that they show in a guide's place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, get_args
from unittest.mock import patch

import torch
from torch import Tensor

from trainers import architectures, controls, mappings, tasks
from trainers.architectures import ARCHITECTURES, LOGITS
from trainers.architectures.forward_pass import forward_pass
from trainers.architectures.taps import Rows
from trainers.conditions.cache_form import Cache
from trainers.conditions.guidance import State
from trainers.controls import CONTROLS, Compared, Control, FeatureSource, SourceContext
from trainers.distances import GuideGrams
from trainers.errors import UserError
from trainers.guides.cached_features import CachedFeatures, fill
from trainers.guides.features import Cached, Features, NoCache
from trainers.guides.frozen import FrozenGuide
from trainers.registry import Component
from trainers.runtime.streams import Streams
from trainers.tasks import TASKS, Task
from trainers.tasks.batches import Batch, noise
from trainers.testing.contract import Contract, bad_values, component_of, refused, require

Named = str | Component | Callable[..., Any]
_CPU = torch.device("cpu")
#: Examples of a batch.
_BATCH = 6


@dataclass(frozen=True)
class _InPlace:
    """A control in the place of a guide, for a target on a task."""

    component: Component
    task: Task
    target: Component
    guide: Component

    @cached_property
    def control(self) -> Control:
        return controls.build(self.component)

    @cached_property
    def frozen(self) -> FrozenGuide:
        """The guide, of the target's architecture where the control takes that."""
        torch.manual_seed(0)
        architecture = self.target if self.control.of_target else self.guide
        network = architectures.build(architecture, self.task.input, self.task.output)
        return FrozenGuide(network, self.task, _CPU)

    def guide_on(self, compared: Compared) -> FrozenGuide:
        """The guide with the taps that a distance of such outputs compares."""
        taps = self.frozen.network.taps if compared == "taps" else (LOGITS,)
        return FrozenGuide(self.frozen.network, self.task, _CPU, taps=taps)

    def source(
        self, compared: Compared, rows: Rows = "examples", cached: Cached | None = None
    ) -> FeatureSource:
        """Its feature source, which caches nothing unless `cached` is given."""
        assert self.task.component is not None
        guide = self.guide_on(compared)
        return self.control.source(
            SourceContext(
                task=self.task,
                taps=guide.taps,
                streams=Streams("target", self.task.component, self.target, 0),
                rows=rows,
                shapes=lambda: guide.output_shapes,
                guide=guide if self.control.runs_guide else None,
                cached=cached or NoCache(),
            )
        )

    def batch(self, step: int = 0) -> Batch:
        """A training batch, with the indices of its examples unless the task generates them."""
        if self.task.num_train is None:
            generator = torch.Generator().manual_seed(step)
            return Batch(*self.task.sample(_BATCH, generator), None, step)
        index = torch.arange(_BATCH) + step * _BATCH
        return Batch(self.task.train.inputs[index], self.task.train.labels[index], index, step)

    def rows(self, compared: Compared) -> list[Rows]:
        """Kinds of rows in which it has a meaning for the guide's taps."""
        return [rows for rows in get_args(Rows) if self._said(compared, rows) is not None]

    def said(self, compared: Compared, rows: Rows) -> Mapping[str, Tensor]:
        """Features that it says it shows for a batch, on the meta device."""
        said = self._said(compared, rows)
        assert said is not None
        return said

    def _said(self, compared: Compared, rows: Rows) -> Mapping[str, Tensor] | None:
        architecture = self.target if self.control.of_target else self.guide
        found = forward_pass(architecture, self.task.input, self.task.output).of_batch(_BATCH)
        taps = found.taps if compared == "taps" else (LOGITS,)
        try:
            return self.control.shown(self.task, rows, {tap: found.outputs[tap] for tap in taps})
        except UserError:
            return None

    def each(self) -> Iterator[tuple[Compared, Rows]]:
        """Outputs and kinds of rows on which it has a meaning."""
        for compared in self.control.guides:
            for rows in self.rows(compared):
                yield compared, rows


CONTRACT: Contract[_InPlace] = Contract()
rule = CONTRACT.rule


def check_control(
    control: Named,
    task: Named = "translated_digits",
    *,
    target: Named = "fcn",
    guide: Named = "resnet2d",
    rule: str | None = None,
) -> None:
    """Raise ContractError where a control breaks a rule in the place of a guide.

    Each is a registered name, its class or function, or a component with options; the task's data
    is loaded. `rule` checks that one rule alone. Raises UserError where the control has no meaning
    for the task.
    """
    subject = _subject(control, task, target, guide)
    subject.control.check(subject.task)
    CONTRACT.check(f"control {CONTROLS.label(subject.component)!r}", subject, rule)


def control_rules(
    control: Named,
    task: Named = "translated_digits",
    *,
    target: Named = "fcn",
    guide: Named = "resnet2d",
) -> list[str]:
    """Names of the rules that `check_control` checks."""
    return CONTRACT.names(_subject(control, task, target, guide))


def _subject(control: Named, task: Named, target: Named, guide: Named) -> _InPlace:
    return _InPlace(
        component_of(CONTROLS, control),
        tasks.build(component_of(TASKS, task)),
        component_of(ARCHITECTURES, target),
        component_of(ARCHITECTURES, guide),
    )


def _runs_guide(subject: _InPlace) -> bool:
    return subject.control.runs_guide


def _is_cached(subject: _InPlace) -> bool:
    fixed = subject.task.num_train is not None and not subject.task.augmented
    # What sees no inputs has draws of its own in a cache.
    shows_inputs = _runs_guide(subject) and subject.control.sees_inputs
    return shows_inputs and subject.control.cacheable and fixed


def _tensors(features: Features) -> Mapping[str, Tensor]:
    require(not isinstance(features, GuideGrams), "without a cache it gives Gram matrices")
    assert not isinstance(features, GuideGrams)
    return features


def _same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[t], second[t]) for t in first)


@rule("lists show the first line of its docstring")
def says_what_it_is(subject: _InPlace) -> None:
    """It has a docstring."""
    # Not that of the control from which it is derived.
    require(CONTROLS[subject.component.name].factory.__doc__, "it has no docstring")


@rule("plans ask it where it belongs")
def facts_are_known(subject: _InPlace) -> None:
    """Its outputs and states are known ones, at least one of each."""
    control = subject.control
    for name, given, known in (
        ("guides", control.guides, get_args(Compared)),
        ("states", control.states, get_args(State)),
    ):
        require(given and set(given) <= set(known), f"{name} is {given}; known: {known}")
    like = control.works_like
    if like is not None:
        require(like in CONTROLS.names(), f"works_like is {like!r}, which is no control")


@rule("a plan tells shapes and costs before there are features")
def shows_what_it_says(subject: _InPlace) -> None:
    """Features have the shapes of `shown`, for every kind of rows; they are finite numbers."""
    for compared, rows in subject.each():
        said = {t: o.shape for t, o in subject.said(compared, rows).items()}
        source = subject.source(compared, rows)
        taps = subject.guide_on(compared).taps
        require(tuple(source.taps) == taps, f"its taps are {source.taps}, not {taps}")
        shown = _tensors(source.features(subject.batch(), 0))
        found = {tap: output.shape for tap, output in shown.items()}
        require(found == said, f"rows {rows}: it shows {found}, and says {said}")
        for tap, output in shown.items():
            require(output.is_floating_point(), f"tap {tap!r} is of type {output.dtype}")
            require(output.isfinite().all(), f"tap {tap!r} is not finite")


@rule("a run that was interrupted goes on with the same features")
def repeats_its_draws(subject: _InPlace) -> None:
    """A second source gives the same features at the same step, whatever went before."""
    for compared, rows in subject.each():
        first, second = (subject.source(compared, rows) for _ in range(2))
        for step in (0, 1):
            first.features(subject.batch(step), step)
        torch.manual_seed(5)
        again = _tensors(first.features(subject.batch(1), 1))
        same = _same(again, _tensors(second.features(subject.batch(1), 1)))
        require(same, f"rows {rows}: step 1 has other features in another process")


@rule("guided and unguided runs have the same dropout")
def leaves_the_generators_alone(subject: _InPlace) -> None:
    """Neither features nor `evaluate` draw from PyTorch's global generator."""
    compared = subject.control.guides[0]
    before = torch.get_rng_state()
    source = subject.source(compared)
    source.features(subject.batch(), 0)
    source.evaluate(*subject.task.validation[:2])
    require(torch.equal(before, torch.get_rng_state()), "the global generator has moved")


@rule("a control without a guide costs no guide")
def says_whether_a_guide_runs(subject: _InPlace) -> None:
    """A guide network runs where `runs_guide` says so, and nowhere else."""
    for compared in subject.control.guides:
        with _counted_forwards() as count:
            subject.source(compared).features(subject.batch(), 0)
        ran = count[0] > 0
        require(ran == subject.control.runs_guide, f"runs_guide is {not ran}, a guide runs: {ran}")


@contextmanager
def _counted_forwards() -> Iterator[list[int]]:
    count, original = [0], FrozenGuide.forward

    def forward(self: FrozenGuide, inputs: Tensor) -> dict[str, Tensor]:
        count[0] += 1
        return original(self, inputs)

    with patch.object(FrozenGuide, "forward", forward):
        yield count


@rule("alignment is measured on examples outside training")
def evaluates(subject: _InPlace) -> None:
    """`evaluate` shows features of the same shapes, the same ones each time."""
    inputs, labels = (part[:_BATCH] for part in subject.task.validation)
    for compared, rows in subject.each():
        source = subject.source(compared, rows)
        first, second = (source.evaluate(inputs, labels) for _ in range(2))
        said = {tap: output.shape for tap, output in subject.said(compared, rows).items()}
        found = {tap: output.shape for tap, output in first.items()}
        require(found == said, f"rows {rows}: evaluate gives {found}, training {said}")
        require(_same(first, second), "evaluate gives other features the second time")


@rule("what sees no inputs is shared by guides that see others")
def sees_what_it_says(subject: _InPlace) -> None:
    """Other guide inputs change nothing unless `sees_inputs`."""
    if subject.control.sees_inputs:
        return
    batch = subject.batch()
    drawn = noise(subject.task.input, _BATCH, torch.Generator().manual_seed(9))
    other = batch._replace(augmented_for_guide=drawn)
    for compared in subject.control.guides:
        source = subject.source(compared)
        first, second = (_tensors(source.features(each, 0)) for each in (batch, other))
        require(_same(first, second), "it says that it sees no inputs, and other inputs change it")


@rule("guides are cached, and results must not depend on it", when=_is_cached)
def caches_show_the_same(subject: _InPlace) -> None:
    """Features from a cache of the training examples are those of a guide that runs."""
    assert subject.task.component is not None
    streams = Streams("target", subject.task.component, subject.target, 0)
    for compared in subject.control.guides:
        guide, arrays = subject.guide_on(compared), dict[str, Tensor]()

        def allocate(
            name: str, shape: Any, dtype: torch.dtype, arrays: dict[str, Tensor] = arrays
        ) -> Tensor:
            return arrays.setdefault(name, torch.empty(tuple(shape), dtype=dtype))

        inputs = subject.control.cache_inputs(subject.task, streams).make()[: 2 * _BATCH]
        form = Cache(form="features", feature_bytes=0)
        fill(guide, inputs, None, "examples", form, allocate)
        cached = subject.source(compared, cached=CachedFeatures(arrays, guide.taps))
        live = subject.source(compared)
        for step in (0, 1):
            shown = [_tensors(s.features(subject.batch(step), step)) for s in (cached, live)]
            for tap in guide.taps:
                close = torch.allclose(shown[0][tap], shown[1][tap], rtol=1e-4, atol=1e-5)
                require(close, f"tap {tap!r} is another from the cache, at step {step}")


@rule("a plan tells the number of pairs, and distances are of taps that exist")
def pairs_are_of_taps(subject: _InPlace) -> None:
    """It gives pairs of existing taps, at least one, with weights above 0, as many as planned."""
    if "taps" not in subject.control.guides:
        return
    target = forward_pass(subject.target, subject.task.input, subject.task.output).taps
    guide, counts = subject.frozen.network.taps, set()
    for seed in range(3):
        draws = torch.Generator().manual_seed(seed)
        similarity = torch.rand(len(guide), len(target), generator=draws)
        mapped = mappings.nearest(target, guide, partial(torch.clone, similarity))
        pairs = subject.control.pairs(mapped, target, guide)
        counts.add(len(pairs))
        for pair in pairs:
            require(pair.target in target, f"{pair.target!r} is no tap of the target")
            require(pair.guide in guide, f"{pair.guide!r} is no tap of the guide")
            require(0 < pair.weight < float("inf"), f"{pair.metric} weighs {pair.weight}")
    require(len(counts) == 1 and 0 not in counts, f"it gives {sorted(counts)} pairs")


@rule("a mistake in a spec is said when it is planned")
def bad_options_are_refused(subject: _InPlace) -> None:
    """Sizes below 0, and what is none of the choices, raise ValueError that names it."""
    name = subject.component.name
    for option, bad in bad_values(CONTROLS, name):
        options = subject.component.kwargs | {option: bad}

        def build(options: dict[str, Any] = options) -> None:
            controls.build(CONTROLS.component(name, **options))

        refused(build, option, f"{option}={bad!r}")
