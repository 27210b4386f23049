"""A user's module as it was read, and the digest that represents its code in ids."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from trainers.registry import Origin

_DIGEST_LENGTH = 16
#: Raised when users' entries give other results from the same sources. 2: taps hold a module's
#: output as it was before changes in place, and networks get copies of their inputs.
_RULES = b"2"


@dataclass(frozen=True)
class Module:
    """A module as it was read: `files` are its sources by their paths in the module.

    `digest` is the first 16 hex digits of a SHA-256 over these and over the sources of the other
    listed modules that it imports, directly or not.
    """

    name: str
    path: str
    files: Mapping[str, str] = field(repr=False)
    digest: str = ""

    @property
    def origin(self) -> Origin:
        """Origin of the entries that the module registers."""
        return Origin(self.name, self.digest)

    @property
    def is_package(self) -> bool:
        """Whether the module is a package folder."""
        return "__init__.py" in self.files

    def place(self, fullname: str) -> str | None:
        """Path, a key of `files`, of the (sub)module `fullname`; None if there is none."""
        if not self.is_package:
            return next(iter(self.files)) if fullname == self.name else None
        below = "/".join(fullname.split(".")[1:])
        candidates = (f"{below}/__init__.py".lstrip("/"), f"{below}.py")
        return next((each for each in candidates if each in self.files), None)

    def imported_names(self) -> set[str]:
        """Names of the top-level modules that its sources import, anywhere in them."""
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
    """Line of an error as a prefix: `line 3: `, or `part.py, line 3: ` in a package; else empty."""
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
        # Raised when the file is imported, if it ever is.
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]
