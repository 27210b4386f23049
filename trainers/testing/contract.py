"""Contracts: named rules, each with a reason, and the errors of subjects that break them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from trainers.errors import UserError
from trainers.registry import Component, Registry, UnknownNameError

Subject = TypeVar("Subject")


class ContractError(AssertionError):
    """Rules that an entry breaks; `broken` are their names, the message has the reasons."""

    def __init__(self, label: str, findings: dict[str, str], num_rules: int) -> None:
        self.broken = tuple(findings)
        lines = [f"{label} breaks {len(findings)} of {num_rules} rules:"]
        lines += [f"- {name}: {finding}" for name, finding in findings.items()]
        super().__init__("\n".join(lines))


class BrokenRuleError(AssertionError):
    """The finding of a broken rule; becomes a line of a ContractError."""


@dataclass(frozen=True)
class Rule(Generic[Subject]):
    """A rule and its reason; `check` raises where the rule does not hold."""

    name: str
    reason: str
    check: Callable[[Subject], None]
    applies: Callable[[Subject], bool]


class Contract(Generic[Subject]):
    """The rules for one kind of subject, in the order of their definition."""

    def __init__(self) -> None:
        self._rules: dict[str, Rule[Subject]] = {}

    def rule(
        self, reason: str, *, when: Callable[[Subject], bool] = lambda _: True
    ) -> Callable[[Callable[[Subject], None]], Callable[[Subject], None]]:
        """Decorate a check to make it a rule of the same name, for subjects that `when` accepts."""

        def enter(check: Callable[[Subject], None]) -> Callable[[Subject], None]:
            self._rules[check.__name__] = Rule(check.__name__, reason, check, when)
            return check

        return enter

    def names(self, subject: Subject) -> list[str]:
        """The rules that apply to a subject."""
        return [name for name, rule in self._rules.items() if rule.applies(subject)]

    def check(self, label: str, subject: Subject, rule: str | None = None) -> None:
        """Raise ContractError where the subject breaks an applicable rule, or `rule` alone."""
        names = self.names(subject)
        if rule is not None:
            if rule not in names:
                raise UnknownNameError(f"rule for {label}:", rule, names)
            names = [rule]
        findings: dict[str, str] = {}
        cause: Exception | None = None
        for name in names:
            try:
                with _own_generators():
                    self._rules[name].check(subject)
            except Exception as error:
                cause = cause or error
                found = str(error) if isinstance(error, BrokenRuleError) else _described(error)
                findings[name] = f"{found} (Reason: {self._rules[name].reason}.)"
        if findings:
            raise ContractError(label, findings, len(names)) from cause


def require(holds: object, otherwise: str) -> None:
    """Raise BrokenRuleError with the finding `otherwise`, unless `holds`."""
    if not holds:
        raise BrokenRuleError(otherwise)


def refused(call: Callable[[], object], words: str, what: str) -> None:
    """Raise BrokenRuleError unless `call` raises ValueError with `words` in its message."""
    try:
        call()
    except ValueError as error:
        require(words in str(error), f"{what} is refused without saying {words!r}: {error}")
    except Exception as error:
        raise BrokenRuleError(f"{what} gives {_described(error)}; raise ValueError") from error
    else:
        raise BrokenRuleError(f"{what} is accepted; raise ValueError that says {words!r}")


def component_of(registry: Registry[Any], entry: str | Component | Callable[..., Any]) -> Component:
    """The component of an entry, given by name, by class or function, or as a component."""
    if isinstance(entry, Component):
        return entry
    if isinstance(entry, str):
        return registry.component(entry)
    names = [name for name in registry.names() if registry[name].factory is entry]
    if not names:
        raise UserError(f"{entry!r} is no registered {registry.kind}: decorate it with register")
    return registry.component(names[0])


def bad_values(registry: Registry[Any], name: str) -> Iterator[tuple[str, Any]]:
    """Options of an entry, each with a bad value: -1 for integers, an unknown choice for others."""
    for option, parameter in registry[name].parameters.items():
        if parameter.annotation in (int, int | None):
            yield option, -1
        elif "Literal[" in str(parameter.annotation):
            yield option, "no such choice"


@contextmanager
def _own_generators() -> Iterator[None]:
    """Restore the global random generators afterwards; inside they may be used and seeded."""
    import numpy as np

    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
