"""The words of verdicts, and their kinds; imports nothing, so that lists of studies start fast."""

from __future__ import annotations

from enum import StrEnum

HELPS_SPECIFIC = "helps, guide-specific"
HELPS = "helps, specificity not established"
#: Of rivals: without a guide or prior there is nothing to be specific to.
RIVAL_HELPS, PRIOR_SPECIFIC = "helps", "helps, prior-specific"
NO_MORE = "no more than {control} (within margin)"
NO_EFFECT = "no effect (within margin)"
HURTS, OPEN, CONTROL = "hurts", "not established", "control"
#: Before the verdict on a metric that is not the task's primary metric.
DESCRIPTIVE = "descriptive: "
#: After a verdict that guidance helps, where it does not at equal compute.
AT_EQUAL_STEPS = " at equal steps only"


class Kind(StrEnum):
    """Kinds of verdicts, whatever control, metric or baseline their words name."""

    specific = "specific"
    helps = "helps"
    no_more = "no_more"
    no_effect = "no_effect"
    hurts = "hurts"
    open = "open"
    control = "control"


_KINDS = {
    HELPS_SPECIFIC: Kind.specific,
    PRIOR_SPECIFIC: Kind.specific,
    HELPS: Kind.helps,
    RIVAL_HELPS: Kind.helps,
    NO_EFFECT: Kind.no_effect,
    HURTS: Kind.hurts,
    OPEN: Kind.open,
    CONTROL: Kind.control,
}


def kind(found: str) -> Kind:
    """The kind of a verdict, as columns `verdict` and `verdict_adjusted` have it.

    Raises ValueError for words that are no verdict.
    """
    words = found.removeprefix(DESCRIPTIVE).removesuffix(AT_EQUAL_STEPS)
    if no_more_than(found) is not None:
        return Kind.no_more
    if words not in _KINDS:
        raise ValueError(f"{found!r} is no verdict")
    return _KINDS[words]


def no_more_than(found: str) -> str | None:
    """The control that a verdict says guidance does no more than; None of other verdicts."""
    before, after = NO_MORE.split("{control}")
    words = found.removeprefix(DESCRIPTIVE)
    if not (words.startswith(before) and words.endswith(after)):
        return None
    return words.removeprefix(before).removesuffix(after)
