"""Registries: discovery, options, names that are not known, labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import numpy as np
import pytest

from trainers import architectures
from trainers.architectures import ARCHITECTURES
from trainers.distances import DISTANCES
from trainers.errors import UserError
from trainers.registry import Component, Registry, UnknownNameError, derived
from trainers.tasks import TASKS

#: A module that enters nothing in any registry.
BARE = "trainers.errors"


@pytest.fixture
def registry() -> Registry[Callable[..., Any]]:
    things: Registry[Callable[..., Any]] = Registry("thing", BARE, facts=["colour"])

    @things.register("plain", version=3, colour="red")
    def plain(
        *, size: int = 1, rate: float = 0.5, mode: Literal["a", "b"] = "a", on: bool = False
    ) -> tuple[int, float, str, bool]:
        """A plain thing.

        And more.
        """
        return size, rate, mode, on

    return things


def test_modules_are_discovered() -> None:
    assert {"fcn", "cnn1d", "resnet1d", "resnet2d", "rnn", "transformer"} <= {
        *ARCHITECTURES.names()
    }
    assert {"translated_digits", "copy_paste", "mnist1d"} <= {*TASKS.names()}
    assert DISTANCES.names() == sorted(DISTANCES.names())


def test_entry(registry: Registry[Callable[..., Any]]) -> None:
    entry = registry["plain"]
    assert (entry.version, entry.info, entry.summary) == (3, {"colour": "red"}, "A plain thing.")
    assert entry.defaults == {"size": 1, "rate": 0.5, "mode": "a", "on": False}
    assert entry.parameters["mode"].annotation == Literal["a", "b"]


def test_component_fills_in_defaults(registry: Registry[Callable[..., Any]]) -> None:
    component = registry.component("plain", size=2)
    assert component.kwargs == {"size": 2, "rate": 0.5, "mode": "a", "on": False}
    assert component == registry.component("plain", mode="a", size=2)
    assert hash(component) == hash(registry.component("plain", size=2))


def test_a_whole_number_for_a_float_is_that_float(registry: Registry[Callable[..., Any]]) -> None:
    # 1 and 1.0 are equal, but not as JSON: the ids would differ.
    assert repr(registry.component("plain", rate=1)) == repr(registry.component("plain", rate=1.0))


@pytest.mark.parametrize(
    ("name", "nearest"), [("fnc", "fcn"), ("resnet_2d", "resnet2d"), ("Transformer", "transformer")]
)
def test_unknown_names_list_what_exists(name: str, nearest: str) -> None:
    with pytest.raises(
        UnknownNameError, match=f"unknown architecture '{name}'; did you mean '{nearest}'"
    ) as raised:
        ARCHITECTURES.component(name)
    assert all(known in str(raised.value) for known in ARCHITECTURES.names())


def test_nothing_near() -> None:
    with pytest.raises(UnknownNameError) as raised:
        TASKS["zzzz"]
    assert "did you mean" not in str(raised.value)


def test_names_of_another_type_are_unknown() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown task \['mnist1d'\]"):
        TASKS[["mnist1d"]]  # type: ignore[index]


def test_unknown_option() -> None:
    with pytest.raises(UnknownNameError, match=r"'linear_cka'.*'unbiasd'.*'unbiased'"):
        DISTANCES.component("linear_cka", unbiasd=True)


def test_choices_are_checked(registry: Registry[Callable[..., Any]]) -> None:
    with pytest.raises(ValueError, match="thing 'plain': mode is c; allowed: a, b"):
        registry.component("plain", mode="c")


def options_of(
    *,
    size: int = 1,
    rate: float = 0.5,
    on: bool = False,
    word: str = "a",
    limit: int | None = None,
    mode: Literal["auto"] | int = "auto",
    late: int = None,  # type: ignore[assignment]  # noqa: RUF013
    pair: tuple[int, ...] = (),
    free: Any = None,
) -> None:
    """Options of every kind."""


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("size", 3, 3),
        ("size", np.int64(3), 3),
        ("rate", 1, 1.0),
        ("rate", np.float64(0.1), 0.1),
        ("rate", np.int32(2), 2.0),
        ("on", True, True),
        ("word", "b", "b"),
        ("limit", None, None),
        ("limit", 4, 4),
        ("mode", "auto", "auto"),
        ("mode", 7, 7),
        ("late", None, None),
        ("pair", [1, 2], (1, 2)),
        ("free", 1.5, 1.5),
    ],
)
def test_values_that_options_take(
    option: str, value: Any, expected: Any, registry: Registry[Callable[..., Any]]
) -> None:
    registry.register("typed")(options_of)
    found = registry.component("typed", **{option: value}).kwargs[option]
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("size", "3", "size is '3'; give a whole number"),
        ("size", 2.5, "size is 2.5; give a whole number"),
        ("size", 3.0, "size is 3.0; give a whole number"),
        ("size", True, "size is True; give a whole number"),
        ("size", None, "size is None; give a whole number"),
        ("rate", "x", "rate is 'x'; give a number"),
        ("rate", True, "rate is True; give a number"),
        ("rate", [0.1], r"rate is \[0.1\]; give a number"),
        ("rate", 10**400, "rate is 10000.*; give a number"),
        ("on", 1, "on is 1; give True or False"),
        ("word", 3, "word is 3; give a text"),
        ("limit", "x", "limit is 'x'; give a whole number"),
        ("mode", "manual", "mode is manual; give a whole number, or one of: auto"),
        ("mode", np.ones(2), "mode is array"),
    ],
)
def test_values_that_options_refuse(
    option: str, value: Any, message: str, registry: Registry[Callable[..., Any]]
) -> None:
    registry.register("typed")(options_of)
    with pytest.raises(UserError, match=f"thing 'typed': {message}"):
        registry.component("typed", **{option: value})


def test_duplicate_names(registry: Registry[Callable[..., Any]]) -> None:
    def other() -> None:
        """Another."""

    with pytest.raises(ValueError, match="thing 'plain' is already registered"):
        registry.register("plain")(other)


def test_a_module_may_be_loaded_again(registry: Registry[Callable[..., Any]]) -> None:
    factory = registry["plain"].factory
    registry.register("plain", version=4)(factory)
    assert registry["plain"].version == 4


def test_entries_made_meanwhile_are_taken_away(
    registry: Registry[Callable[..., Any]],
) -> None:
    @derived
    @cache
    def version() -> int:
        return registry["plain"].version

    before = registry["plain"]
    with registry.restored():
        registry.register("plain", version=4)(before.factory)
        registry.register("other")(lambda: None)
        assert (registry.names(), version()) == (["other", "plain"], 4)
    assert registry.names() == ["plain"]
    assert registry["plain"] is before
    assert version() == 3


def test_options_need_defaults(registry: Registry[Callable[..., Any]]) -> None:
    def needy(*, size: int) -> int:
        return size

    with pytest.raises(ValueError, match="thing 'needy': option 'size' needs a default"):
        registry.register("needy")(needy)


@pytest.mark.parametrize("name", [3, "", "my net", "a+b", "net(2)", "a,b", "trained.own", "-x"])
def test_a_name_that_would_not_do_in_a_label_is_refused(
    registry: Registry[Callable[..., Any]], name: Any
) -> None:
    with pytest.raises(UserError, match="allowed in a name: letters, digits, _ and -"):
        registry.register(name)(lambda: None)


def test_options_need_types_and_no_option_is_the_name(
    registry: Registry[Callable[..., Any]],
) -> None:
    def untyped(*, width=3):  # type: ignore[no-untyped-def]
        return width

    def named(*, name: str = "x") -> str:
        return name

    with pytest.raises(UserError, match="option 'width' needs a type, as in width: int"):
        registry.register("untyped")(untyped)
    with pytest.raises(UserError, match="no option may be called 'name'"):
        registry.register("named")(named)


def test_a_class_that_lacks_a_method_is_refused(registry: Registry[Callable[..., Any]]) -> None:
    class Base(ABC):
        @abstractmethod
        def forward(self) -> None: ...

    class Misspelt(Base):
        def foward(self) -> None: ...

    registry.register("misspelt")(Misspelt)
    with pytest.raises(UserError, match="thing 'misspelt': its class lacks forward"):
        registry.make(registry.component("misspelt"))


@pytest.mark.parametrize(
    ("options", "extra", "label"),
    [
        ({}, {}, "linear_cka"),
        ({"unbiased": False}, {}, "linear_cka"),
        ({"unbiased": True}, {}, "linear_cka(unbiased=true)"),
        ({"unbiased": True}, {"rows": "positions"}, "linear_cka(unbiased=true,rows=positions)"),
    ],
)
def test_labels(options: dict[str, Any], extra: dict[str, Any], label: str) -> None:
    assert DISTANCES.label(DISTANCES.component("linear_cka", **options), **extra) == label


def test_labels_of_numbers() -> None:
    component = ARCHITECTURES.component("fcn", depth=10, dropout=0.1, norm="batch")
    assert ARCHITECTURES.label(component) == "fcn(depth=10,dropout=0.1,norm=batch)"


def test_components_are_values() -> None:
    assert Component("a", (("b", 1),)) == Component("a", (("b", 1),))
    assert Component("a", (("b", 1),)).kwargs == {"b": 1}


def test_what_an_entry_cannot_tell_of_itself_is_refused(
    registry: Registry[Callable[..., Any]],
) -> None:
    with pytest.raises(UnknownNameError) as caught:
        registry.register("other", color="red")
    assert str(caught.value) == (
        "unknown argument of register('other'): 'color'; did you mean 'colour'? "
        "(known: colour, later, version)"
    )


@pytest.mark.parametrize("inputs", ["image", (), ("images",), None])
def test_architectures_take_kinds_of_input_that_there_are(inputs: Any) -> None:
    with pytest.raises(
        UserError, match=r"architecture 'new': inputs is .*; give a tuple of image,"
    ):
        architectures.register("new", inputs=inputs)
