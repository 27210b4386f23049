"""Registries of named, versioned entries (architectures, tasks, distances), found by discovery.

A registry imports every module of its package at first use, so a new entry is one new file. Options
of an entry are the keyword-only parameters of its factory.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, NamedTuple, TypeVar

from trainers.errors import UserError
from trainers.options import HashedOnce, Kind, frozen

#: Least similarity, from 0 to 1, of names that are alike, and of one that may be mistyped.
_ALIKE, _MISTYPED = 0.6, 0.8
#: Other characters have a meaning in labels and filters: `fcn(depth=2)`, `a+b`, `trained.shuffled`.
_NAME = re.compile(r"\w[\w-]*")
#: Whatever is registered: a class or function that makes an entry.
Factory = TypeVar("Factory", bound=Callable[..., Any])
Cached = TypeVar("Cached")


class Origin(NamedTuple):
    """Name of a user's module that registers entries, and the digest of its sources."""

    name: str
    digest: str


#: Origins of entries by name of the user's module; `extensions.user_modules` enters them.
ORIGINS: dict[str, Origin] = {}
_DERIVED: list[Callable[[], object]] = []


def derived(cached: Cached) -> Cached:
    """Decorate a cached function of entries: its cache is cleared whenever an entry is replaced."""
    _DERIVED.append(cached.cache_clear)  # type: ignore[attr-defined]
    return cached


def near_names(name: str, known: Iterable[str], default: str | None = None) -> list[str]:
    """The known names nearest to `name`, at most four; empty where none is near.

    Those that it may be mistyped for, else those that it is a word of (`cka` of `linear_cka`), else
    those that are alike. Of several, `default` comes first.
    """
    names = sorted(known)
    ratios = {each: difflib.SequenceMatcher(None, each, name).ratio() for each in names}
    best = max(ratios.values(), default=0.0)
    alike = [each for each, ratio in ratios.items() if ratio == best >= _ALIKE]
    words = [each for each in names if name and name in re.split("[^a-z0-9]+", each)]
    near = alike if best >= _MISTYPED else words or alike
    return sorted(near, key=lambda each: each != default)[:4]


def suggestion(near: Sequence[str]) -> str:
    """`; did you mean 'a' or 'b'?` of near names, empty where there are none."""
    quoted = [repr(each) for each in near]
    listed = " or ".join(filter(None, [", ".join(quoted[:-1]), *quoted[-1:]]))
    return f"; did you mean {listed}?" if listed else ""


class NameTakenError(UserError):
    """A name that another factory has already; `module` is that factory's top-level module."""

    def __init__(self, kind: str, name: str, factory: Callable[..., Any]) -> None:
        by = ".".join(_origin(factory))
        super().__init__(f"{kind} {name!r} is already registered by {by}")
        self.module = module_of(factory)


class UnknownNameError(UserError):
    """A name that is not known; the message lists the known names and suggests the nearest.

    Of several that are as near, `default` comes first. If there are more than `LISTED` names, it
    lists the nearest ones.
    """

    LISTED = 100

    def __init__(
        self, what: str, name: object, known: Iterable[str], default: str | None = None
    ) -> None:
        names = sorted(known)
        hint = suggestion(near_names(str(name), names, default))
        if len(names) > self.LISTED:
            alike = difflib.get_close_matches(str(name), names, n=10, cutoff=0.0)
            names = [*alike, f"and {len(names) - len(alike)} more"]
        super().__init__(f"unknown {what} {name!r}{hint} (known: {', '.join(names) or 'none'})")


@dataclass(frozen=True)
class Component(HashedOnce):
    """A registered name with all its options, defaults filled in; hashable."""

    name: str
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def kwargs(self) -> dict[str, Any]:
        """The options as keyword arguments of the entry's factory."""
        return dict(self.options)


# Compared by identity: an entry that is registered again is another one.
@dataclass(frozen=True, eq=False)
class Entry(Generic[Factory]):
    """One registered factory. `version` enters the id of every replicate that uses it.

    `later` are options that were added after there were results: at their defaults they do not
    enter ids and random streams, so that old results stay valid. `origin` is the user's module that
    registers the entry, if any.
    """

    name: str
    factory: Factory
    version: int
    info: Mapping[str, Any] = field(default_factory=dict)
    later: tuple[str, ...] = ()
    origin: Origin | None = None

    @cached_property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The factory's options: its keyword-only parameters, annotations resolved."""
        signature = inspect.signature(self.factory, eval_str=True)
        return {
            name: parameter
            for name, parameter in signature.parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }

    @property
    def defaults(self) -> dict[str, Any]:
        """Defaults by option; every option has one."""
        return {name: parameter.default for name, parameter in self.parameters.items()}

    @property
    def summary(self) -> str:
        """The first line of the factory's docstring."""
        return (inspect.getdoc(self.factory) or "").partition("\n")[0]


def missing_methods(factory: Any) -> list[str]:
    """Methods that the class of an entry must have and lacks; none of a function."""
    return sorted(factory.__abstractmethods__) if inspect.isabstract(factory) else []


def _check(kind: str, entry: Entry[Factory]) -> None:
    """Raise UserError for an entry that a spec could not name, or that could not be made."""
    name, empty = entry.name, inspect.Parameter.empty
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UserError(f"{kind} {name!r}: allowed in a name: letters, digits, _ and -")
    for option, parameter in entry.parameters.items():
        if option == "name":
            raise UserError(f"{kind} {name!r}: no option may be called 'name', as entries have one")
        if parameter.default is empty:
            raise UserError(f"{kind} {name!r}: option {option!r} needs a default")
        if parameter.annotation is empty:
            raise UserError(f"{kind} {name!r}: option {option!r} needs a type, as in {option}: int")


class Registry(Generic[Factory]):
    """Entries of one kind, discovered in `package`: a module, or all modules of a package.

    `default` is the entry of a spec that names none, `facts` what entries may tell of themselves.
    """

    def __init__(
        self, kind: str, package: str, *, default: str | None = None, facts: Collection[str] = ()
    ) -> None:
        self.kind = kind
        self.default = default
        self.facts = facts
        self._package = package
        self._entries: dict[str, Entry[Factory]] = {}
        self._discovered = False

    def register(
        self, name: str, *, version: int = 1, later: tuple[str, ...] = (), **info: Any
    ) -> Callable[[Factory], Factory]:
        """Decorate a factory to register it under `name`; see `trainers.registry.Entry`.

        Raises NameTakenError if the name is taken, UserError if it would not do in a label, if an
        option lacks a default or a type, or if `info` has a key that is none of the `facts`.
        """
        for fact in info:
            if fact not in self.facts:
                known = ("version", "later", *self.facts)
                raise UnknownNameError(f"argument of register({name!r}):", fact, known)

        def enter(factory: Factory) -> Factory:
            known = self._entries.get(name)
            if known is not None and _origin(known.factory) != _origin(factory):
                raise NameTakenError(self.kind, name, known.factory)
            entry = Entry(name, factory, version, info, later, ORIGINS.get(module_of(factory)))
            _check(self.kind, entry)
            self._entries[name] = entry
            if known is not None:
                _empty_caches()
            return factory

        return enter

    def forget(self, module: str) -> None:
        """Remove the entries whose factories are defined in a top-level module."""
        names = [n for n, entry in self._entries.items() if module_of(entry.factory) == module]
        for name in names:
            del self._entries[name]
        if names:
            _empty_caches()

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Context after which the entries are those of before; for entries that a test adds."""
        self._discover()
        before = dict(self._entries)
        try:
            yield
        finally:
            self._entries = before
            _empty_caches()

    def names(self) -> list[str]:
        """All registered names, sorted."""
        self._discover()
        return sorted(self._entries)

    def __getitem__(self, name: str) -> Entry[Factory]:
        self._discover()
        try:
            return self._entries[name]
        except (KeyError, TypeError):
            raise UnknownNameError(self.kind, name, self._entries, self.default) from None

    def make(self, component: Component, *given: Any) -> Any:
        """Call the factory of a component with `given` arguments and the component's options.

        A ValueError of the factory, which refuses an option, is raised as UserError, and so is that
        a class lacks a method.
        """
        factory = self[component.name].factory
        if missing := missing_methods(factory):
            raise UserError(f"{self.kind} {component.name!r}: its class lacks {', '.join(missing)}")
        try:
            return factory(*given, **component.kwargs)
        except UserError:
            raise
        except ValueError as error:
            raise UserError(str(error)) from error

    def component(self, name: str, **options: Any) -> Component:
        """The `Component` of a name and options, with defaults filled in.

        Raises UserError for unknown names and options, and for values that are not allowed.
        """
        entry = self[name]
        parameters, given = entry.parameters, entry.defaults
        for option, value in options.items():
            if option not in parameters:
                raise UnknownNameError(f"option of {self.kind} {name!r}:", option, parameters)
            kind, default = Kind.of(parameters[option].annotation), parameters[option].default
            # A default of None allows None, whatever the annotation says.
            kind = kind._replace(optional=kind.optional or default is None)
            given[option] = frozen(kind.check(f"{self.kind} {name!r}: {option}", value))
        for option in entry.later:
            if given[option] == parameters[option].default:
                del given[option]
        return Component(name, tuple(sorted(given.items())))

    def label(self, component: Component, **extra: Any) -> str:
        """Canonical short name `name(option=value,...)`, with options that are not at defaults.

        Options are in alphabetical order, followed by `extra`.
        """
        defaults = self[component.name].defaults
        options = {k: v for k, v in component.options if v != defaults[k]} | extra
        return format_label(component.name, options)

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(getattr(package, "__path__", ())):
            importlib.import_module(f"{self._package}.{module.name}")


def module_of(factory: Any) -> str:
    """Name of the top-level module in which a factory is defined."""
    return str(factory.__module__).partition(".")[0]


def _empty_caches() -> None:
    for clear in _DERIVED:
        clear()


def _origin(factory: Any) -> tuple[str, str]:
    # By name, because a module that is imported again registers new factories of the same names.
    return factory.__module__, factory.__qualname__


def format_label(name: str, options: Mapping[str, Any]) -> str:
    """`name(option=value,...)`, or the bare name without options."""
    if not options:
        return name
    listed = ",".join(f"{key}={format_value(value)}" for key, value in options.items())
    return f"{name}({listed})"


def format_value(value: Any) -> str:
    """An option's value in the form of labels: `true`, `0.1`, `none`."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return format_number(value)
    if isinstance(value, tuple):
        return "[" + ",".join(map(format_value, value)) + "]"
    return str(value)


def format_number(value: float) -> str:
    """A number as no other has it: six digits where they are exact, else as many as it takes."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
