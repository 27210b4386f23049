"""A user's own modules: architectures, tasks, distances, mappings, measures outside the package.

A module is a .py file or a package folder. Its sources are read once; these are imported and
digested, here and on workers, even if the files change meanwhile. Each module is imported under its
own name. Other files in its folder are not importable: one that it needs must be listed too, so
that its code enters a digest.
"""

from __future__ import annotations

import importlib
import keyword
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType
from typing import Any

from trainers.errors import UserError
from trainers.extensions.code_digest import PACKAGES, ForeignCodeError
from trainers.extensions.module import Module, line_of, with_digests
from trainers.registry import ORIGINS, NameTakenError

#: Modules that are in use, by name.
_IN_USE: dict[str, Module] = {}
#: Paths of the modules that are being imported.
_IMPORTING: list[str] = []


class ImportsError(UserError):
    """A module that cannot be imported, the one at `index` of the list that was given."""

    def __init__(self, message: str, index: int = 0) -> None:
        super().__init__(message)
        self.index = index


def read(paths: Sequence[str | os.PathLike[str]]) -> tuple[Module, ...]:
    """Read modules from .py files and package folders; imports nothing.

    Raises ImportsError for a path that is neither, for a name that is no identifier or belongs to
    another module, and for a file beside a module that it imports and that is not in the list.
    """
    found: list[Module] = []
    for index, path in enumerate(paths):
        with _errors(path, index):
            module = _read(Path(path).resolve())
            if any(module.name == earlier.name for earlier in found):
                raise UserError(f"a module {module.name!r} is there already; rename one")
            found.append(module)
    for index, module in enumerate(found):
        with _errors(paths[index], index):
            _check_neighbours(module, {each.name for each in found})
    return with_digests(found)


def activate(modules: Sequence[Module]) -> None:
    """Import modules; those in use with other sources are imported again, entries replaced.

    Other modules stay in use, unless they registered a name that one of these registers. Raises
    ImportsError if one cannot be imported; then none of them is in use.
    """
    if _IMPORTING:
        raise UserError(
            f"while {_IMPORTING[-1]} was imported it loaded a study with imports; keep what runs a "
            'study below if __name__ == "__main__", or in another file'
        )
    if not modules:
        return
    from trainers.extensions.registries import REGISTRIES

    for registry in REGISTRIES.values():
        # Built-in entries come first, so that a user's module that takes one's name is refused.
        registry.names()
    names = {module.name for module in modules}
    new = [module for module in modules if not _is_in_use(module)]
    for module in new:
        forget(module.name)
    _IN_USE.update({module.name: module for module in new})
    ORIGINS.update({module.name: module.origin for module in new})
    if new and _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    try:
        for index, module in enumerate(modules):
            with _errors(module.path, index, module):
                _import(module, names)
    except ImportsError:
        for module in new:
            forget(module.name)
        raise


def load(paths: Sequence[str | os.PathLike[str]]) -> tuple[Module, ...]:
    """Read modules, .py files or package folders, and import them, so that they register entries.

    Raises ImportsError for a path that is no such module, a name that is in use, and an error in a
    module's code.
    """
    modules = read(paths)
    activate(modules)
    return modules


def names_in_use() -> list[str]:
    """Names of the modules that are imported, in the order of their imports."""
    return list(_IN_USE)


def forget(name: str) -> None:
    """Undo the import of a module: its entries, its origin, and its place in `sys.modules`."""
    _IN_USE.pop(name, None)
    ORIGINS.pop(name, None)
    _unload(name)


def payloads(modules: Iterable[Module], *, with_sources: bool) -> list[dict[str, Any]]:
    """Modules as plain values, for `require` on workers.

    Without sources, workers find the modules by name, because Ray has distributed the files.
    """
    return [
        {"name": module.name, "digest": module.digest}
        | ({"path": module.path, "files": dict(module.files)} if with_sources else {})
        for module in modules
    ]


def require(sent: Sequence[Mapping[str, Any]]) -> None:
    """Import the modules that a driver imported, on its worker.

    Raises ForeignCodeError if one is missing or has other sources, ImportsError if one cannot be
    imported here.
    """
    if not sent:
        return
    if all("files" in each for each in sent):
        found = with_digests([Module(e["name"], e["path"], e["files"]) for e in sent])
    else:
        found = read([_distributed(each["name"]) for each in sent])
    for module, each in zip(found, sent, strict=True):
        if module.digest != each["digest"]:
            raise ForeignCodeError(
                f"this worker would import another {module.name} ({module.digest}, {module.path}) "
                f"than its driver ({each['digest']})"
            )
    activate(found)


def _distributed(name: str) -> Path:
    """The file or folder of a module that Ray has distributed; raises ForeignCodeError."""
    place = _installed(name)
    if place is None:
        raise ForeignCodeError(f"this worker has no module {name}, which its driver imported")
    return place


def _read(path: Path) -> Module:
    if path.is_dir():
        if not (path / "__init__.py").is_file():
            raise UserError("a folder without __init__.py; give a .py file or a package folder")
        name, sources = path.name, sorted(path.rglob("*.py"))
    elif path.suffix == ".py" and path.is_file():
        name, sources = path.stem, [path]
    else:
        missing = "" if path.exists() else "no such file or folder; "
        raise UserError(f"{missing}give a .py file or a package folder")
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("__"):
        raise UserError(f"{name!r} is no name of a module: letters, digits and _ only")
    taken = _taken_by(name, path)
    if taken is not None:
        raise UserError(f"the name {name!r} is that of {taken}; rename it")
    root = path if path.is_dir() else path.parent
    below = {source.relative_to(root): source for source in sources}
    return Module(name, str(path), {
        part.as_posix(): source.read_text(encoding="utf-8")
        for part, source in below.items() if not any(p.startswith(".") for p in part.parts)
    })  # fmt: skip


def _taken_by(name: str, path: Path) -> str | None:
    """Description of the module, other than that at `path`, that has the name; None if none has."""
    if name in PACKAGES or name in sys.stdlib_module_names:
        return "a module of archprior" if name in PACKAGES else "a standard module"
    loaded = None if name in _IN_USE else getattr(sys.modules.get(name), "__file__", None)
    place = _place(loaded) if loaded else _installed(name)
    return None if place in (None, path) else f"the module at {place}"


def _installed(name: str) -> Path | None:
    """The file or package folder that `import name` finds apart from modules in use, if any."""
    importlib.invalidate_caches()
    for finder in sys.meta_path:
        spec = None if finder is _FINDER else finder.find_spec(name, None)
        # A folder without __init__.py does not hide other modules.
        if spec is not None and spec.loader is not None and spec.origin is not None:
            return _place(spec.origin)
    return None


def _place(file: str) -> Path:
    place = Path(file).resolve()
    return place.parent if place.name == "__init__.py" else place


def _check_neighbours(module: Module, listed: set[str]) -> None:
    folder = Path(module.path).parent
    for name in sorted(module.imported_names() - listed):
        for neighbour in (folder / f"{name}.py", folder / name):
            there = neighbour.is_file() or (neighbour / "__init__.py").is_file()
            if there and _taken_by(name, neighbour) is None:
                raise UserError(
                    f"it imports {name}, and {neighbour.name} lies beside it: add that to imports, "
                    "because workers need it and its code counts too"
                )


def _is_in_use(module: Module) -> bool:
    return _IN_USE.get(module.name) == module and module.name in sys.modules


def _import(module: Module, listed: set[str]) -> None:
    while True:
        _IMPORTING.append(module.path)
        try:
            importlib.import_module(module.name)
        except NameTakenError as error:
            if error.module in listed or error.module not in _IN_USE:
                raise
            # The other module is of another study, which imports it again when it needs it.
            forget(error.module)
            _unload(module.name)
        else:
            return
        finally:
            _IMPORTING.pop()


def _unload(name: str) -> None:
    from trainers.extensions.registries import REGISTRIES

    for registry in REGISTRIES.values():
        registry.forget(name)
    for each in [m for m in sys.modules if m == name or m.startswith(f"{name}.")]:
        del sys.modules[each]


@contextmanager
def _errors(
    path: str | os.PathLike[str], index: int, module: Module | None = None
) -> Iterator[None]:
    """Turn exceptions into ImportsError, with the path and, if it is known, the line."""
    try:
        yield
    except (Exception, SystemExit) as error:
        if module is not None:
            cause = f"{line_of(error, module)}{type(error).__name__}: {error}"
        elif isinstance(error, OSError | ValueError):
            cause = str(error)
        else:
            raise
        raise ImportsError(f"{os.fspath(path)}: {cause}", index) from error


def where(error: BaseException) -> str | None:
    """Line of a user's module that raised an exception, `my_nets.py, line 3`; None if none did."""
    for module in _IN_USE.values():
        line = line_of(error, module)
        if line:
            inside = "/" if module.is_package else ", "
            return f"{Path(module.path).name}{inside}{line.removesuffix(': ')}"
    return None


class _Loader(SourceFileLoader):
    """Imports the source that was read; without cached bytecode, which goes by times and sizes."""

    def __init__(self, fullname: str, path: str, source: str) -> None:
        super().__init__(fullname, path)
        self._source = source

    def get_source(self, fullname: str) -> str:  # noqa: ARG002
        """The source that was read."""
        return self._source

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002
        """The source that was read, compiled."""
        code: CodeType = self.source_to_code(self._source, self.path)
        return code


class _Finder(MetaPathFinder):
    """Finds the modules in use and their submodules."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002
        target: Any = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """The spec of a module in use; None for any other."""
        module = _IN_USE.get(fullname.partition(".")[0])
        place = None if module is None else module.place(fullname)
        if module is None or place is None:
            return None
        file = Path(module.path, place if module.is_package else "")
        loader = _Loader(fullname, str(file), module.files[place])
        return spec_from_file_location(fullname, file, loader=loader)


_FINDER = _Finder()
