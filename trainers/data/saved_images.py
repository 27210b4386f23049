"""Image classes in a Hugging Face dataset saved to disk: splits of columns `image` and `label`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainers.data import data_root
from trainers.errors import UserError

#: File that `DatasetDict.save_to_disk` writes beside the splits.
MARK = "dataset_dict.json"


class Labels(NamedTuple):
    """A split's labels (N,), and the names of the classes if the dataset has them."""

    values: np.ndarray
    names: list[str] | None


def files(root: Path, splits: Iterable[str]) -> list[Path]:
    """Arrow files of some splits, sorted."""
    found = (path for split in splits for path in (root / split).glob("*.arrow"))
    return sorted(path for path in found if not path.name.startswith("."))


def labels(root: Path, split: str) -> Labels:
    """The labels of a split.

    Raises FileNotFoundError if the package `datasets` is not installed, and UserError, with the
    split's path, if it cannot be loaded or its labels are not whole numbers of known classes.
    """
    rows = _load(root / split)
    for column in ("image", "label"):
        if column not in rows.column_names:
            raise UserError(
                f"{root / split} has no column {column!r}, but {', '.join(rows.column_names)}: "
                "rename_column, and save it again"
            )
    names = getattr(rows.features["label"], "names", None)
    found = np.asarray(rows.with_format("numpy")["label"][:])
    if found.dtype.kind not in "iubf" or not np.isfinite(found).all() or (found % 1 != 0).any():
        raise UserError(
            f"{root / split}: the column label holds other than whole numbers (as numpy: "
            f"{found.dtype}): give every row the number of its class, and save it again"
        )
    values = found.astype(np.int64)
    data_root.check_labels(str(root / split), values, None if names is None else len(names))
    return Labels(values, names)


def classes(found: Mapping[str, Labels]) -> list[str]:
    """Names of the classes by label, of all splits together; the label itself if there is none."""
    named = [split.names for split in found.values() if split.names is not None]
    largest = max((int(split.values.max(initial=-1)) for split in found.values()), default=-1)
    names = max(named, key=len, default=[])
    return [*names, *map(str, range(len(names), largest + 1))]


def without_images(
    root: Path, names: Sequence[str], found: Mapping[str, Labels]
) -> Iterator[tuple[int, str]]:
    """Labels of the classes that have no rows in one of the splits, each with a message."""
    counts = {s: np.bincount(each.values, minlength=len(names)) for s, each in found.items()}
    for label, name in enumerate(names):
        lacking = [split for split, count in counts.items() if not count[label]]
        if lacking:
            splits = " and ".join(lacking)
            yield (
                label,
                f"{root}: class {label} ({name!r}) has no rows in split {splits}: add some, or "
                "number the classes anew without it",
            )


class SavedImages:
    """The image files of one split."""

    def __init__(self, folder: Path) -> None:
        from datasets import Image

        self._folder = folder
        self._rows = _load(folder).cast_column("image", Image(decode=False))

    def read(self, index: int) -> tuple[str, bytes]:
        """Name of an image for messages, and its bytes; raises UserError with that name."""
        name, image = f"{self._folder}[{index}]", self._rows[index]["image"] or {}
        content, path = image.get("bytes"), image.get("path")
        if content is not None:
            return name, content
        if path is None:
            raise UserError(f"{name} holds no image: remove the row, and save it again")
        try:
            return name, Path(path).read_bytes()
        except OSError as error:
            raise UserError(f"{name}: {data_root.unreadable(Path(path), error)}") from error


def _load(folder: Path) -> Any:
    try:
        from datasets import load_from_disk
    except ImportError as error:
        raise FileNotFoundError(
            f"{folder.parent} is a saved Hugging Face dataset, and the package datasets, which "
            "reads it, is not installed: pip install 'archprior[vision]'"
        ) from error
    try:
        return load_from_disk(str(folder))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder} cannot be loaded: {error}; save the split again") from error
