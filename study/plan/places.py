"""Where in a spec an entry stands that does not fit the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from study.errors import PartError, SpecError
from study.spec import mixtures
from study.spec.read import Block


@contextmanager
def placed(block: Block) -> Iterator[None]:
    """Raise a PartError of a block's entry as a SpecError that names the entry's place."""
    try:
        yield
    except PartError as error:
        raise SpecError(f"{_place(block, error)}{error}") from error


def _place(block: Block, error: PartError) -> str:
    """`targets[0]: `; empty where no entry of the block is the component, as in a search."""
    for key in error.keys:
        for index, entry in mixtures.parts(getattr(block, key)):
            if error.component in entry.components():
                return f"{block.place(key, index)}: "
    return ""
