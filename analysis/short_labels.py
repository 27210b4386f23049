"""Labels without the options that all labels of a study share, for names that a person reads."""

from __future__ import annotations

from collections.abc import Iterable

from analysis.mixture_labels import terms_of


def short_labels(labels: Iterable[str]) -> dict[str, str]:
    """A short form of each label: options that its namesakes share are left out.

    `fcn(depth=2,width=32)` and `fcn(norm=batch,width=32)` are `fcn(depth=2)` and `fcn(norm=batch)`;
    a label without namesakes is its bare name. Guides of a mixture count as labels. Labels of one
    form stay as they are.
    """
    terms = {label: terms_of(label) for label in dict.fromkeys(labels)}
    parts = {name: _parts(name) for each in terms.values() for _, name in each}
    shared: dict[str, set[str]] = {}
    for name, options in parts.values():
        known = shared.get(name)
        shared[name] = set(options) if known is None else known & set(options)
    forms_of_one = {
        label: _joined(name, [o for o in options if o not in shared[name]])
        for label, (name, options) in parts.items()
    }
    short = {
        label: "+".join(weight + forms_of_one[name] for weight, name in each)
        for label, each in terms.items()
    }
    forms = list(short.values())
    return {label: form if forms.count(form) == 1 else label for label, form in short.items()}


def _joined(name: str, options: Iterable[str]) -> str:
    listed = ",".join(options)
    return f"{name}({listed})" if listed else name


def _parts(label: str) -> tuple[str, list[str]]:
    """Name and options of a label; of one that is not of this form all is the name."""
    name, bracket, rest = label.partition("(")
    if not bracket or _closes_at(rest) != len(rest) - 1:
        return label, []
    return name, _options(rest[:-1])


def _closes_at(text: str) -> int:
    """Position of the bracket that closes one that is open before `text`; -1 without."""
    depth = 1
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return position
    return -1


def _options(text: str) -> list[str]:
    """Options between commas that are in no brackets."""
    options, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            options.append("")
        else:
            options[-1] += character
    return options
