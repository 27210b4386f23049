"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): colour photographs of 32x32 pixels."""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from trainers.data import data_root, machine_cache
from trainers.errors import UserError
from trainers.tasks import ABSENT, Classification, InputSpec, OutputSpec, Split, register

NUM_IMAGES, NUM_VALIDATION = 50_000, 5_000
SIDE, MARGIN = 32, 4
URL = "https://www.cs.toronto.edu/~kriz/"


class CIFAR(Classification):
    """CIFAR in its binary version: an archive of records of labels and 3072 bytes (RGB).

    The last 5000 of the published training images are the validation split, the first `train_size`
    of the others are trained on. `augment`: none, or `crop_flip`: a random crop of the image with a
    black margin of 4 pixels, mirrored half of the time, anew in each epoch.
    """

    #: Folder in the data root.
    folder: ClassVar[str]
    #: Name of the archive.
    archive: ClassVar[str]
    #: MD5 of the archive as published.
    md5: ClassVar[str]
    #: Members that hold training images, in order, and the one that holds test images.
    members: ClassVar[tuple[tuple[str, ...], str]]
    #: Number of label bytes of a record; the last one is the class.
    label_bytes: ClassVar[int]
    #: Mean by channel of all 50,000 published training images, in fractions of full intensity.
    mean: ClassVar[tuple[float, ...]]
    #: Standard deviation by channel of the same images.
    deviation: ClassVar[tuple[float, ...]]

    @abstractmethod
    def __init__(self, train_size: int, augment: str, num_classes: int) -> None:
        available = NUM_IMAGES - NUM_VALIDATION
        if not 1 <= train_size <= available:
            raise UserError(
                f"task {self.folder}: train_size is {train_size}; allowed: 1 to {available}"
            )
        self.input = InputSpec(kind="image", shape=(3, SIDE, SIDE))
        self.output = OutputSpec(num_classes=num_classes)
        self.num_train = train_size
        self.augmented = augment != "none"

    def data_places(self) -> list[Path]:
        """The task's folder in the data root."""
        return [data_root.root() / self.folder]

    def data_digest(self) -> str:
        """Digest of the archive's members that are read, or `ABSENT`."""
        path = self.data_places()[0] / self.archive
        return machine_cache.remembered(path, self._digest) if data_root.is_file(path) else ABSENT

    def check_data(self) -> None:
        """Download the archive (170 MB) if it is missing; FileNotFoundError if that fails."""
        place = self.data_places()[0]
        if data_root.is_file(place / self.archive):
            return
        try:
            data_root.download(URL, {self.archive: f"md5:{self.md5}"}, place)
        except (OSError, ValueError) as error:
            raise FileNotFoundError(
                f"task {self.folder}: {self.archive} is not in {place}, and could not be "
                f"downloaded from {URL}: {error}"
            ) from error

    def augment(self, example: Tensor, generator: torch.Generator) -> Tensor:
        """The image (3, 32, 32) moved by up to 4 pixels each way, and mirrored or not."""
        top, left = torch.randint(0, 2 * MARGIN + 1, (2,), generator=generator).tolist()
        mirrored = bool(torch.randint(0, 2, (), generator=generator))
        wide = self._standardised(torch.zeros(3, SIDE + 2 * MARGIN, SIDE + 2 * MARGIN))
        wide[:, MARGIN:-MARGIN, MARGIN:-MARGIN] = example
        crop = wide[:, top : top + SIDE, left : left + SIDE]
        return crop.flip(-1) if mirrored else crop

    def load(self) -> Mapping[str, Split]:
        """Splits of float32 images (N, 3, 32, 32), standardised by channel."""
        self.check_data()
        path = self.data_places()[0] / self.archive
        train, test = self.members
        images, labels = self._records(path, train)
        if len(images) != NUM_IMAGES:
            raise UserError(f"{path}: {len(images)} training images; expected {NUM_IMAGES}")
        held_out = NUM_IMAGES - NUM_VALIDATION
        parts = {
            "train": (images[: self.num_train], labels[: self.num_train]),
            "validation": (images[held_out:], labels[held_out:]),
            "test": self._records(path, (test,)),
        }
        return {
            name: Split(
                self._standardised(torch.from_numpy(pixels.astype(np.float32)).div_(255)), labels
            )
            for name, (pixels, labels) in parts.items()
        }

    def _standardised(self, images: Tensor) -> Tensor:
        mean, deviation = torch.tensor(self.mean), torch.tensor(self.deviation)
        return images.sub_(mean[:, None, None]).div_(deviation[:, None, None])

    def _records(self, path: Path, members: tuple[str, ...]) -> tuple[np.ndarray, Tensor]:
        """Intensities (N, 3, 32, 32) from 0 to 255, in float32, and labels (N,)."""
        size = self.label_bytes + 3 * SIDE * SIDE
        content = b"".join(_read(path, members).values())
        if len(content) % size:
            raise UserError(f"{path}: {', '.join(members)} are not records of {size} bytes")
        records = np.frombuffer(content, np.uint8).reshape(-1, size)
        labels = records[:, self.label_bytes - 1].astype(np.int64)
        data_root.check_labels(f"{path}: {', '.join(members)}", labels, self.output.num_classes)
        images = records[:, self.label_bytes :].reshape(-1, 3, SIDE, SIDE)
        return images.astype(np.float32), torch.from_numpy(labels)

    def _digest(self, path: Path) -> str:
        train, test = self.members
        contents = _read(path, (*train, test))
        return data_root.digest({n: hashlib.sha256(c).hexdigest() for n, c in contents.items()})


@register("cifar10", version=1)
class CIFAR10(CIFAR):
    """CIFAR-10: 45,000 training, 5000 validation and 10,000 test images of 32x32, 10 classes."""

    folder, archive = "cifar10", "cifar-10-binary.tar.gz"
    md5 = "c32a1d4ab5d03f1284b67883e8d87530"
    members = (
        tuple(f"cifar-10-batches-bin/data_batch_{number}.bin" for number in range(1, 6)),
        "cifar-10-batches-bin/test_batch.bin",
    )
    label_bytes = 1
    mean, deviation = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)

    def __init__(
        self,
        *,
        train_size: int = NUM_IMAGES - NUM_VALIDATION,
        augment: Literal["none", "crop_flip"] = "none",
    ) -> None:
        super().__init__(train_size, augment, 10)


@register("cifar100", version=1)
class CIFAR100(CIFAR):
    """CIFAR-100: 45,000 training, 5000 validation and 10,000 test images of 32x32, 100 classes."""

    folder, archive = "cifar100", "cifar-100-binary.tar.gz"
    md5 = "03b5dce01913d631647c71ecec9e9cb8"
    members = (("cifar-100-binary/train.bin",), "cifar-100-binary/test.bin")
    label_bytes = 2
    mean, deviation = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)

    def __init__(
        self,
        *,
        train_size: int = NUM_IMAGES - NUM_VALIDATION,
        augment: Literal["none", "crop_flip"] = "none",
    ) -> None:
        super().__init__(train_size, augment, 100)


def _read(path: Path, members: Sequence[str]) -> dict[str, bytes]:
    """Contents of an archive's members, in the order of `members`; nothing is unpacked on disk."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for entry in archive:
                if entry.name in members and (file := archive.extractfile(entry)) is not None:
                    found[entry.name] = file.read()
        return {member: found[member] for member in members}
    except (KeyError, tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path}: cannot read {', '.join(members)}: {error!r}") from error
