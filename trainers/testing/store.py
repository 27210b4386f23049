"""The contract of a store's file system: whole files, names, removal and leases."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from trainers.store.folder import Folder, digest
from trainers.store.lease import Lease, LeasedError, holder
from trainers.testing.contract import BrokenRuleError, Contract, require


@dataclass(frozen=True)
class _At:
    """A folder in which each rule gets an empty one of its own."""

    root: Folder

    def empty(self) -> Folder:
        return self.root / uuid.uuid4().hex


CONTRACT: Contract[_At] = Contract()
rule = CONTRACT.rule


def check_store(folder: Folder | str | os.PathLike[str], *, rule: str | None = None) -> None:
    """Raise ContractError where a folder (a path, or the URI of a bucket) cannot be a store.

    It writes into the folder, and leaves nothing there; `rule` checks that one rule alone.
    """
    root = folder if isinstance(folder, Folder) else Folder(folder)
    scratch = f"contract-{uuid.uuid4().hex}"
    try:
        CONTRACT.check(f"store {root.uri}", _At(root / scratch), rule)
    finally:
        root.remove(scratch)


def store_rules() -> list[str]:
    """Names of the rules that `check_store` checks."""
    return CONTRACT.names(_At(Folder("")))


@rule("results are read by other processes, long after they were written")
def what_is_written_is_read(subject: _At) -> None:
    """A file has the bytes, the size and the digest that were written, in folders that it makes."""
    folder = subject.empty()
    for name, content in (("empty", b""), ("some/where/file.bin", bytes(range(256)) * 100)):
        written = folder.write(name, content)
        require(folder.exists(name), f"{name} is not there after it was written")
        require(folder.read(name) == content, f"{name} is read with other bytes")
        some = folder.read_some([name, "absent"])
        require(some == {name: content}, f"{name} is read with other bytes beside an absent file")
        sizes = folder.size(name), written.size
        require(sizes == (len(content),) * 2, f"{len(content)} bytes have sizes {sizes}")
        require(written.digest == digest(content), f"{name} is written with another digest")


@rule("what is not there is trained")
def what_is_not_there_is_absent(subject: _At) -> None:
    """A file that was never written is not there; reading it raises FileNotFoundError."""
    folder = subject.empty()
    require(folder.names() == [], "a folder that is not there has names")
    require(not folder.exists("result.json"), "a file that was never written is there")
    require(folder.size("result.json") is None, "a file that was never written has a size")
    for remove in (folder.remove, folder.remove_file):
        remove("result.json")
    require(folder.read_some(["result.json"]) == {}, "a file that was never written is read")
    for read in (folder.read, lambda name: folder.local(name).__enter__()):
        try:
            read("result.json")
        except FileNotFoundError:
            continue
        raise BrokenRuleError("a file that was never written can be read")


@rule("a reader sees the old bytes or the new ones")
def a_file_is_replaced_whole(subject: _At) -> None:
    """A file that is written again is the new one, also where it is shorter."""
    folder = subject.empty()
    folder.write("file", b"long before")
    folder.write("file", b"now")
    require(folder.read("file") == b"now", f"written again it is {folder.read('file')!r}")
    require(folder.names(hidden=True) == ["file"], "writing leaves other files beside it")


@rule("a crash at any moment leaves what was whole before")
def a_write_that_fails_leaves_the_old(subject: _At) -> None:
    """A failed write leaves the file as it was, and nothing beside it."""
    folder = subject.empty()
    folder.write("file", b"before")

    def save(path: Path) -> None:
        path.write_bytes(b"half")
        raise ValueError("out of luck")

    try:
        folder.write_with("file", save)
    except ValueError:
        pass
    else:
        raise BrokenRuleError("an exception of what saves a file is lost")
    require(folder.read("file") == b"before", f"a failed write leaves {folder.read('file')!r}")
    require(folder.names(hidden=True) == ["file"], f"it leaves {folder.names(hidden=True)}")


@rule("weights are streamed, and never together in memory")
def large_files_go_by_way_of_a_path(subject: _At) -> None:
    """A file that is saved at a path can be read at one."""
    folder, content = subject.empty(), os.urandom(100_000)
    written = folder.write_with("a/weights", lambda path: path.write_bytes(content))
    require(written == (len(content), digest(content)), f"it is written as {written}")
    with folder.local("a/weights") as path:
        require(path.read_bytes() == content, "at its path it has other bytes")
    require(folder.read("a/weights") == content, "it is read with other bytes")


@rule("a study looks for replicates by their folders")
def names_are_those_of_files_and_folders(subject: _At) -> None:
    """Files and folders of a folder are named once each, without those of folders in it."""
    folder = subject.empty()
    for name in ("b", "a/1", "a/2", "c/d/e"):
        folder.write(name, b"x")
    require(sorted(folder.names()) == ["a", "b", "c"], f"it names {sorted(folder.names())}")
    within = sorted((folder / "a").names())
    require(within == ["1", "2"], f"a folder in it names {within}")


@rule("what a killed process was writing is no result")
def hidden_files_do_not_count(subject: _At) -> None:
    """Names that begin with a dot are listed on request only."""
    folder = subject.empty()
    folder.write(".half", b"x")
    folder.write("whole", b"x")
    require(folder.names() == ["whole"], f"it names {folder.names()}")
    hidden = sorted(folder.names(hidden=True))
    require(hidden == [".half", "whole"], f"with hidden files it names {hidden}")


@rule("damaged results are discarded, and trained again")
def what_is_removed_is_gone(subject: _At) -> None:
    """Files, and folders with all that they hold, can be removed."""
    folder = subject.empty()
    for name in ("file", "other", "folder/1", "folder/deep/2", "stays"):
        folder.write(name, b"x")
    folder.remove("file")
    folder.remove_file("other")
    folder.remove("folder")
    left = folder.names(hidden=True)
    require(left == ["stays"], f"after removing the others it names {left}")
    require(not folder.exists("folder/deep/2"), "a file of a removed folder is there")


@rule("two processes must not train the same replicate")
def a_lease_has_one_owner(subject: _At) -> None:
    """While one owner has the lease of a folder no other gets it; then it is free."""
    folder = subject.empty()
    with Lease(folder) as lease:
        lease.check()
        require(holder(folder) is not None, "a lease that was taken has no holder")
        try:
            with Lease(folder):
                raise BrokenRuleError("a second owner gets a lease that is taken")
        except LeasedError:
            pass
    require(holder(folder) is None, "a lease that was returned has a holder")
