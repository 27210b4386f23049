"""ImageNet-1k (Russakovsky et al. 2015, arXiv 1409.0575), prepared as in the paper."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from trainers.data import data_root, image_folder
from trainers.data.decoding import decoded
from trainers.data.image_folder import Images, Index
from trainers.data.lazy import LazyInputs
from trainers.errors import UserError
from trainers.tasks import ABSENT, Classification, InputSpec, OutputSpec, Split, register

if TYPE_CHECKING:
    from PIL import Image

#: Numbers of published training images and of classes, for plans without the data.
NUM_PUBLISHED, NUM_CLASSES = 1_281_167, 1000
HELD_OUT_PER_CLASS = 10
#: Seed of the validation split and of the order of held-out images, the same for all replicates.
DATA_SEED = 0
PARTS, SAVED_PARTS = ("train", "val"), ("train", "validation")
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Range of a random crop's share of the image, range of width / height, and most draws of one.
SCALE, RATIO, ATTEMPTS = (0.08, 1.0), (3 / 4, 4 / 3), 10


@register("imagenet", version=1)
class ImageNet(Classification):
    """ImageNet: 1,271,167 training, 10,000 validation and 50,000 test images, 1000 classes.

    The test split is the published validation split; 10 images a class, drawn from all training
    images, are the validation split. Training inputs are random parts of images, scaled to `size`
    pixels a side and mirrored half of the time; evaluation inputs are the centres of whole images,
    their shorter side scaled to `size` * 256 / 224. `classes` is the number of classes, in the
    order of their names.
    """

    primary_metric = "top5_accuracy"
    higher_is_better = {"top5_accuracy": True, "accuracy": True, "loss": False}  # noqa: RUF012

    def __init__(self, *, size: int = 224, classes: int = NUM_CLASSES) -> None:
        if size < 8 or not 2 <= classes <= NUM_CLASSES:
            raise UserError(
                f"task imagenet: size is {size} and classes is {classes}; allowed: size of 8 or "
                f"more, classes from 2 to {NUM_CLASSES}"
            )
        self.input = InputSpec(kind="image", shape=(3, size, size))
        self.output = OutputSpec(num_classes=classes)
        self.augmented = True
        # Features of all taps of a large network, of so many images, have to fit in memory.
        self.forward_batch = 100
        self._size, self._classes = size, classes
        self._index: Index | None = None
        self.num_train = round(NUM_PUBLISHED * classes / NUM_CLASSES) - HELD_OUT_PER_CLASS * classes
        self._look()

    def _look(self) -> str | None:
        """Index the data root; returns the message of what is missing or wrong, or None."""
        if self._index is not None:
            return None
        root = self.data_places()[0]
        try:
            index = image_folder.index_of(root, PARTS, SAVED_PARTS)
        except (OSError, ValueError) as error:
            return str(error)
        fault = None if index is None else index.fault(self._classes)
        if index is None or fault is not None:
            return fault or self._expected("there is no such folder")
        count = int((index.labels["train"] < self._classes).sum()) - self._num_held_out
        if index.num_classes < self._classes:
            return self._expected(
                f"it has {index.num_classes} classes, and the task {self._classes}"
            )
        if count < 1:
            return self._expected(
                f"it has too few training images to hold out {self._num_held_out}"
            )
        self._index, self.num_train = index, count
        return None

    @property
    def _num_held_out(self) -> int:
        return HELD_OUT_PER_CLASS * self._classes

    def data_places(self) -> list[Path]:
        """The task's folder in the data root."""
        return [data_root.root() / "imagenet"]

    def data_digest(self) -> str:
        """Digest of the names and sizes of the classes' image files, or `ABSENT`."""
        self._look()
        return ABSENT if self._index is None else self._index.digest(self._classes)

    def check_data(self) -> None:
        """Raise FileNotFoundError if images are missing or damaged, with the layout or a remedy.

        The data cannot be downloaded: it has to be put there by hand.
        """
        missing = self._look()
        if missing is not None:
            raise FileNotFoundError(f"task imagenet: {missing}")

    def _expected(self, missing: str) -> str:
        root = self.data_places()[0]
        return (
            f"looked in {root}: {missing}. Expected are folders {root}/train/<class>/*.JPEG and "
            f"{root}/val/<class>/*.JPEG with the same {self._classes} classes or more, or a "
            f"Hugging Face dataset saved to {root} with the splits train and validation and the "
            f"columns image and label; another data root is named by {data_root.VARIABLE}"
        )

    def load(self) -> Mapping[str, Split]:
        """Splits whose inputs (N, 3, size, size) are decoded when they are indexed."""
        self.check_data()
        rng = np.random.default_rng(DATA_SEED)
        train, test = (self._chosen(part, rng) for part in PARTS)
        held_out, rest = train[: self._num_held_out], np.sort(train[self._num_held_out :])
        return {
            "train": self._split("train", rest),
            "validation": self._split("train", held_out),
            "test": self._split("val", test),
        }

    def _chosen(self, part: str, rng: np.random.Generator) -> np.ndarray:
        """Indices of the images of the task's classes in a part, in random order."""
        assert self._index is not None
        return rng.permutation(np.flatnonzero(self._index.labels[part] < self._classes))

    def _split(self, part: str, places: np.ndarray) -> Split:
        assert self._index is not None
        root, saved_part = self.data_places()[0], SAVED_PARTS[PARTS.index(part)]
        images = image_folder.open_images(root, part, saved_part, self._index)
        labels = torch.from_numpy(self._index.labels[part][places])
        return Split.of_lazy(_Decoded(images, places, self._size, self.data or ""), labels)

    def tally(self, answers: Tensor, labels: Tensor) -> dict[str, float]:
        """Sums of the base class, and the number of labels among the five largest logits."""
        best = answers.topk(min(5, self.output.num_outputs), -1).indices
        hits = (best == labels.unsqueeze(-1)).any(-1)
        return super().tally(answers, labels) | {"top5_hits": int(hits.sum())}

    def score(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Top-5 accuracy, accuracy and loss."""
        top5 = {"top5_accuracy": sums["top5_hits"] / sums["count"]}
        return top5 | super().score(sums)

    def chance(self, metric: str) -> float | None:
        """Score of a uniform guess, of five different classes for the top-5 accuracy."""
        if metric == "top5_accuracy":
            return min(5, self._classes) / self._classes
        return super().chance(metric)


class _Decoded(LazyInputs):
    """Decoded images of one part, at the indices `places`."""

    def __init__(self, images: Images, places: np.ndarray, size: int, content: str) -> None:
        self.shape = torch.Size((len(places), 3, size, size))
        self._images, self._places, self._size, self._content = images, places, size, content

    @property
    def digest(self) -> str:
        """Digest of the data, digest of the chosen indices, and the size of inputs."""
        chosen = hashlib.sha256(self._places.astype("<i8").tobytes()).hexdigest()
        return f"{self._content} {chosen} {self._size}"

    def example(self, index: int) -> Tensor:
        """The centre of the image (3, size, size)."""
        return as_tensor(centre(self._open(index), self._size))

    def augmented(self, index: int, generator: torch.Generator) -> Tensor:
        """A random part of the image (3, size, size), mirrored or not."""
        return as_tensor(random_part(self._open(index), self._size, generator))

    def _open(self, index: int) -> Image.Image:
        return decoded(*self._images.read(int(self._places[index])))


def centre(image: Image.Image, size: int) -> Image.Image:
    """The centre `size` x `size` of an image whose shorter side is `size` * 256 / 224."""
    from PIL import Image

    shorter, (width, height) = round(size * 256 / 224), image.size
    if width <= height:
        scaled = shorter, int(shorter * height / width)
    else:
        scaled = int(shorter * width / height), shorter
    image = image.resize(scaled, Image.Resampling.BILINEAR)
    left, top = (round((side - size) / 2) for side in scaled)
    return image.crop((left, top, left + size, top + size))


def random_part(image: Image.Image, size: int, generator: torch.Generator) -> Image.Image:
    """A random part scaled to `size` x `size`, mirrored half of the time."""
    from PIL import Image

    box = random_box(*image.size, generator)
    image = image.crop(box).resize((size, size), Image.Resampling.BILINEAR)
    if torch.rand((), generator=generator) < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image


def random_box(width: int, height: int, generator: torch.Generator) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a part of an image (Szegedy et al. 2015).

    The area is uniform in `SCALE`, the ratio log-uniform in `RATIO`; if none of `ATTEMPTS` draws
    fits, it is the largest centre of an allowed ratio.
    """
    for _ in range(ATTEMPTS):
        area, logarithm = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        area = width * height * (SCALE[0] + area * (SCALE[1] - SCALE[0]))
        low, high = map(math.log, RATIO)
        ratio = math.exp(low + logarithm * (high - low))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left = int(torch.randint(0, width - w + 1, (), generator=generator))
            top = int(torch.randint(0, height - h + 1, (), generator=generator))
            return left, top, left + w, top + h
    ratio = min(max(width / height, RATIO[0]), RATIO[1])
    w, h = min(width, round(height * ratio)), min(height, round(width / ratio))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def as_tensor(image: Image.Image) -> Tensor:
    """An image as float32 (3, height, width), standardised by channel."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div_(255)
    mean, deviation = torch.tensor(MEAN), torch.tensor(DEVIATION)
    return pixels.sub_(mean[:, None, None]).div_(deviation[:, None, None])
