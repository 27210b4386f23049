"""A user's module as it was read, and the digest that stands for its code in ids."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from trainers.registry import Origin

_DIGEST_LENGTH = 16
#: Raised when entries of users give other results though their sources are the same. 2: taps hold
#: what their module gave (what overwrites it in place came after), and no network sees what
#: another has done to its input.
_RULES = b"2"


@dataclass(frozen=True)
class Module:
    """A module as it was read: `files` are its sources by path below it.

    `digest` is of these and of the sources of the other modules of the list that it imports, and
    theirs: the first 16 hex digits of a SHA-256.
    """

    name: str
    path: str
    files: Mapping[str, str] = field(repr=False)
    digest: str = ""

    @property
    def origin(self) -> Origin:
        """What its entries say of where they are from."""
        return Origin(self.name, self.digest)

    @property
    def is_package(self) -> bool:
        """Whether it is a folder."""
        return "__init__.py" in self.files

    def place(self, fullname: str) -> str | None:
        """Which of its files holds the module `fullname`; None where none does."""
        if not self.is_package:
            return next(iter(self.files)) if fullname == self.name else None
        below = "/".join(fullname.split(".")[1:])
        candidates = (f"{below}/__init__.py".lstrip("/"), f"{below}.py")
        return next((each for each in candidates if each in self.files), None)

    def imported_names(self) -> set[str]:
        """Top-level modules that its sources import, wherever in them."""
        return {name for text in self.files.values() for name in _imported_names(text)}


def with_digests(modules: Sequence[Module]) -> tuple[Module, ...]:
    """The same modules with their digests."""
    by_name = {module.name: module for module in modules}
    uses = {module.name: module.imported_names() & by_name.keys() for module in modules}

    def digest(name: str) -> str:
        reached, waiting = {name}, [name]
        while waiting:
            new = uses[waiting.pop()] - reached
            reached |= new
            waiting += new
        content = hashlib.sha256(_RULES)
        for each in sorted(reached):
            for file, text in sorted(by_name[each].files.items()):
                source = text.encode()
                content.update(f"{each}/{file} {len(source)}\n".encode())
                content.update(source)
        return content.hexdigest()[:_DIGEST_LENGTH]

    return tuple(replace(module, digest=digest(module.name)) for module in modules)


def line_of(error: BaseException, module: Module) -> str:
    """`line 3: ` where that is in the module's file, `part.py, line 3: ` in a package."""
    at, trace = "", error.__traceback__
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if file == Path(module.path):
            at = f"line {trace.tb_lineno}: "
        elif module.is_package and file.is_relative_to(module.path):
            at = f"{file.relative_to(module.path)}, line {trace.tb_lineno}: "
        trace = trace.tb_next
    return at


def _imported_names(source: str) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError:
        # Said when it is imported, if it ever is.
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]
