"""Scikit-learn's 8x8 digits at a random place of a 16x16 canvas, split by base image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainers.errors import UserError
from trainers.tasks import Classification, InputSpec, OutputSpec, Split, register

CANVAS = 16
DIGIT = 8
NUM_BASE_TRAIN, NUM_BASE_VALIDATION, NUM_BASE_TEST = 1297, 100, 400
PLACES_TRAIN, PLACES_HELD_OUT = 3, 4
MAX_SHIFT = 2
#: The split and the places of the data set that all seeds share come from this number.
DATA_SEED = 0


@register("translated_digits", version=1, later=("augment",))
class TranslatedDigits(Classification):
    """Digits at a random place: 3891 training, 400 validation and 1600 test images, 10 classes.

    `places` is the number of positions on the canvas at which each training digit appears.
    `augment`: none, or `shift` by up to two pixels each way, anew in each epoch; pixels that leave
    the canvas are lost.
    """

    redraws = True

    def __init__(
        self, *, places: int = PLACES_TRAIN, augment: Literal["none", "shift"] = "none"
    ) -> None:
        if places < 1:
            raise UserError(f"task translated_digits: places is {places}; allowed: 1 or more")
        self.input = InputSpec(kind="image", shape=(1, CANVAS, CANVAS))
        self.output = OutputSpec(num_classes=10)
        self.num_train = NUM_BASE_TRAIN * places
        self._places = places
        self.augmented = augment != "none"
        #: Test images of one base digit.
        self.clusters = torch.arange(NUM_BASE_TEST).repeat_interleave(PLACES_HELD_OUT)

    def augment(self, example: Tensor, generator: torch.Generator) -> Tensor:
        """The image (1, 16, 16) shifted, filled up with its background."""
        down, right = torch.randint(-MAX_SHIFT, MAX_SHIFT + 1, (2,), generator=generator).tolist()
        margin = (MAX_SHIFT, MAX_SHIFT, MAX_SHIFT, MAX_SHIFT)
        wide = functional.pad(example, margin, value=example.min().item())
        top, left = MAX_SHIFT - down, MAX_SHIFT - right
        return wide[:, top : top + CANVAS, left : left + CANVAS]

    def load(self) -> Mapping[str, Split]:
        """Splits of float32 images (N, 1, 16, 16), standardised by the training pixels."""
        from sklearn.datasets import load_digits

        digits, labels = load_digits(return_X_y=True)
        digits = digits.reshape(-1, DIGIT, DIGIT)
        rng = np.random.default_rng(self.draw_seed(DATA_SEED))
        order = rng.permutation(len(digits))
        bounds = np.cumsum([NUM_BASE_TRAIN, NUM_BASE_VALIDATION, NUM_BASE_TEST])
        parts = zip(
            ("train", "validation", "test"),
            np.split(order, bounds[:-1]),
            (self._places, PLACES_HELD_OUT, PLACES_HELD_OUT),
            strict=True,
        )
        splits = {
            name: _translate(digits[base], labels[base], places, rng)
            for name, base, places in parts
        }
        pixels = splits["train"].inputs
        mean, deviation = pixels.mean(), pixels.std()
        return {
            name: Split(((split.inputs - mean) / deviation).float(), split.labels)
            for name, split in splits.items()
        }


def _translate(
    digits: np.ndarray, labels: np.ndarray, places: int, rng: np.random.Generator
) -> Split:
    images = np.zeros((len(digits) * places, 1, CANVAS, CANVAS))
    corners = rng.integers(0, CANVAS - DIGIT + 1, (len(images), 2))
    for image, digit, (top, left) in zip(images, digits.repeat(places, 0), corners, strict=True):
        image[0, top : top + DIGIT, left : left + DIGIT] = digit
    return Split(torch.from_numpy(images), torch.from_numpy(labels.repeat(places)).long())
