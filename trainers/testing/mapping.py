"""The contract of mappings: pairs of existing taps, as many as planned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from trainers.mappings import MAPPINGS, Pair
from trainers.registry import Component
from trainers.testing.contract import Contract, bad_values, component_of, refused, require

Named = str | Component | Callable[..., Any]


@dataclass(frozen=True)
class _OfTaps:
    """A mapping, and taps that it suits, in depth order."""

    component: Component
    target: tuple[str, ...]
    guide: tuple[str, ...]

    def planned(self) -> list[Pair]:
        """Its pairs before there is a network."""
        return self._made(torch.zeros(len(self.guide), len(self.target)))

    def pairs(self, seed: int = 0) -> list[Pair]:
        """Its pairs for random similarities of guide and target taps, drawn from `seed`."""

        generator = torch.Generator().manual_seed(seed)
        return self._made(torch.rand(len(self.guide), len(self.target), generator=generator))

    def _made(self, similarity: Tensor) -> list[Pair]:
        # Not by `mappings.pairs_of`, which refuses what the rules are about.
        pairs: list[Pair] = MAPPINGS.make(
            self.component, self.target, self.guide, lambda: similarity
        )
        return pairs


CONTRACT: Contract[_OfTaps] = Contract()
rule = CONTRACT.rule


def check_mapping(
    mapping: Named,
    *,
    target: tuple[str, ...] = ("a", "b", "c"),
    guide: tuple[str, ...] = ("a", "x", "c", "y"),
    rule: str | None = None,
) -> None:
    """Raise ContractError where a mapping breaks a rule.

    `mapping` is a registered name, its function, or a component with options; `target` and `guide`
    are taps that it suits, in depth order. `rule` checks that one rule alone.
    """
    component = component_of(MAPPINGS, mapping)
    subject = _OfTaps(component, target, guide)
    CONTRACT.check(f"mapping {MAPPINGS.label(component)!r}", subject, rule)


def mapping_rules(mapping: Named) -> list[str]:
    """Names of the rules that `check_mapping` checks."""
    return CONTRACT.names(_OfTaps(component_of(MAPPINGS, mapping), ("a",), ("a",)))


@rule("lists show the first line of its docstring")
def says_what_it_is(subject: _OfTaps) -> None:
    """It has a docstring."""
    require(MAPPINGS[subject.component.name].summary, "it has no docstring")


@rule("a distance compares what two taps gave")
def taps_exist(subject: _OfTaps) -> None:
    """It gives pairs, at least one, of taps of the target and of the guide."""
    pairs = subject.pairs()
    require(pairs, "it gives no pair")
    for pair in pairs:
        require(isinstance(pair, Pair), f"it gives {pair!r}, which is no Pair")
        require(pair.target in subject.target, f"{pair.target!r} is no tap of the target")
        require(pair.guide in subject.guide, f"{pair.guide!r} is no tap of the guide")


@rule("histories have one metric for each pair")
def no_pair_is_given_twice(subject: _OfTaps) -> None:
    """No two pairs are of the same taps."""
    metrics = [pair.metric for pair in subject.pairs()]
    twice = sorted({name for name in metrics if metrics.count(name) > 1})
    require(not twice, f"{', '.join(twice)} is given more than once")


@rule("a distance that counts for less than nothing drives the networks apart")
def weights_are_positive(subject: _OfTaps) -> None:
    """Each pair has a finite weight above 0."""
    for pair in subject.pairs():
        require(0 < pair.weight < float("inf"), f"{pair.metric} weighs {pair.weight}")


@rule("a plan tells the number of pairs before there is a network")
def their_number_is_planned(subject: _OfTaps) -> None:
    """The number of pairs does not depend on the similarity of taps."""
    planned = len(subject.planned())
    for seed in range(3):
        found = len(subject.pairs(seed))
        require(found == planned, f"planned are {planned} pairs, and then {found}")


@rule("a run that was interrupted goes on with the same pairs")
def pairs_follow_from_the_taps(subject: _OfTaps) -> None:
    """Asked again under another state of the global generators it gives the same pairs."""
    first = subject.pairs()
    torch.manual_seed(1)
    require(first == subject.pairs(), "asked twice it gives other pairs")


@rule("a mistake in a spec is said when it is planned")
def bad_options_are_refused(subject: _OfTaps) -> None:
    """Sizes below 0, and what is none of the choices, raise ValueError that names it."""
    name = subject.component.name
    for option, bad in bad_values(MAPPINGS, name):
        options = subject.component.kwargs | {option: bad}

        def build(options: dict[str, Any] = options) -> None:
            replace(subject, component=MAPPINGS.component(name, **options)).planned()

        refused(build, option, f"{option}={bad!r}")
