"""Plain values in a spec's YAML are what people take them for, or are refused with their line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.spec import strict_yaml
from study.spec.files import PRESETS, load
from study.spec.read import SpecError


def value(text: str) -> Any:
    return strict_yaml.parse(f"first: 1\nkey: {text}\n", "s.yaml")["key"]


@pytest.mark.parametrize("preset", sorted(PRESETS.glob("*.yaml")), ids=lambda path: path.stem)
def test_presets_hold_what_any_yaml_reader_finds(preset: Path) -> None:
    text = preset.read_text(encoding="utf-8")
    # By their words too: 1 and 1.0 are equal.
    assert repr(strict_yaml.parse(text, preset.name)) == repr(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0), ("-7", -7), ("+7", 7), ("0x10", 16), ("0o10", 8),
        ("1e3", 1000), ("1E3", 1000), ("2e0", 2), ("1e-3", 0.001), ("1.5e3", 1500.0),
        (".5", 0.5), ("5.", 5.0), ("-0.10", -0.1), (".inf", math.inf), ("-.Inf", -math.inf),
        ("1e400", math.inf), ("1e999999999999999", math.inf), ("1e23", 10**23),
        ("true", True), ("FALSE", False), ("~", None), ("null", None), ("", None),
    ],
)  # fmt: skip
def test_numbers_and_words_of_yaml_1_2(text: str, expected: Any) -> None:
    found = value(text)
    assert (found, type(found)) == (expected, type(expected))


def test_not_a_number_is_one() -> None:
    assert math.isnan(value(".nan"))


@pytest.mark.parametrize(
    "text",
    ["yes", "no", "on", "Off", "2026-01-31", "2026-01-31 10:00:00", "=", "1.2.3", "3d", "e3"],
)
def test_what_is_text_to_people_is_text(text: str) -> None:
    assert value(text) == text


@pytest.mark.parametrize(
    "text",
    ["010", "-010", "08", "00", "00.5", "1:20", "12:30:45.5", "0b11", "1_000", "1_0.5", "0x1_0"],
)
def test_what_is_one_number_to_some_and_another_to_others_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^s\.yaml: not a readable YAML file: line 2, ") as caught:
        value(text)
    assert f"{text} is not one number" in str(caught.value)
    assert f"'{text}' in quotes" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert value(f"'{text}'") == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "s: a spec is a mapping of keys to values (name: my-study, ...); this is empty"),
        ("# only a comment", "this is empty"),
        ("- a", "this is a list (lines that begin with -)"),
        ("text", "this is one value, 'text'"),
        ("a:\n\tb: 1", "line 2, column 1: a tab; YAML is indented by spaces alone"),
        ("a: @", "line 1, column 4: while scanning for the next token, found character '@'"),
    ],
)
def test_what_is_no_mapping_is_said_in_words(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"^s: ") as caught:
        strict_yaml.parse(text, "s")
    assert words in str(caught.value)
    assert "NoneType" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfea\x00:\x00 \x001\x00", "UTF-8"),
        ("a: \N{LATIN SMALL LETTER E WITH ACUTE}".encode("latin-1"), "UTF-8"),
        (b"a: 1\nb: \x00", "#x00"),
        (b"a:\n\t- b", "line 2, column 1"),
        (b"a: [1", "line 1, column 6"),
        (b"a: 1\na: 2", "line 2, column 1: duplicate key 'a'"),
        (b"a: 1\n---\nb: 1", "line 2"),
        (b"a: " + b"9" * 5000, "a number of 5000 characters"),
        (b"a: 0x" + b"f" * 5000, "a number of 5002 characters"),
        (b"a: !!int x", "tags are not allowed"),
        (b"a: !!python/name:os.system", "tags are not allowed"),
        (b"# " + b"x" * strict_yaml.MAX_BYTES, "larger than 2 MiB"),
        (b"", "mapping"),
    ],
)
def test_files_that_are_no_spec_cost_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        load(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{path}: ")
    assert words in line


def test_endless_files_are_not_read_to_their_end() -> None:
    with pytest.raises(SpecError, match="larger than 2 MiB"):
        load("/dev/zero")


def test_a_byte_order_mark_is_no_part_of_a_spec(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + (PRESETS / "quickstart.yaml").read_bytes())
    assert load(path) == load("quickstart")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2", ["duplicate key 'a'", "line 2"]),
        ("train: {lr: 1, lr: 2}", ["duplicate key 'lr'"]),
        ("- a", ["a spec is a mapping of keys to values"]),
        ("", ["a spec is a mapping of keys to values"]),
        ("a: !!python/object/apply:os.system [ls]", ["python/object"]),
        ("a:\n\tb: 1", ["line 2"]),
        ("a: 1\n---\nb: 2", ["another document"]),
        ("[1, 2]: 3", ["a key is a plain value"]),
        ("a: &a [*a]", ["anchors and aliases inside an anchored value"]),
        ("a: " + "[" * 5000, ["nested too deeply"]),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]", ["anchors and aliases"]),
        ("a: &a {x: &b [1]}", ["anchors and aliases"]),
    ],
)
def test_yaml_that_is_refused(text: str, words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"^small\.yaml: ") as caught:
        strict_yaml.parse(text, "small.yaml")
    assert [word for word in words if word not in str(caught.value)] == []


def test_an_alias_bomb_takes_no_time_and_no_memory() -> None:
    levels = "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(20)
    )
    with pytest.raises(ValueError, match="anchors and aliases"):
        strict_yaml.parse("a: &a [x]\n" + levels, "bomb.yaml")


def test_plain_aliases_and_merges_are_read() -> None:
    text = "a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, y: 3}"
    assert strict_yaml.parse(text, "f") == {
        "a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 2}, "c": {"x": 1, "y": 3},
    }  # fmt: skip
