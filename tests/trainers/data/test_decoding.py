"""Bytes of image files to pixels: every depth and mode that is met, and files that are none."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers import data_files
from trainers import tasks
from trainers.architectures import ARCHITECTURES
from trainers.conditions.condition import Condition
from trainers.conditions.training import TrainSettings
from trainers.data.decoding import decoded
from trainers.messages import Ended, Message
from trainers.parallel.workers import Workers
from trainers.store.store import Store
from trainers.tasks import TASKS
from trainers.trial.trial import TrialContext, run_trial

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
GREY, RED_GREEN_BLUE, WITH_ALPHA, GREY_ALPHA = 0, 2, 6, 4


def png(pixels: np.ndarray, bits: int, kind: int) -> bytes:
    """A PNG (height, width, channels) of a depth that PIL reads but does not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    height, width = pixels.shape[:2]
    rows = pixels.astype(">u2" if bits == 16 else np.uint8)
    content = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    parts = {b"IHDR": header, b"IDAT": zlib.compress(content), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts.items())


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def pixels_of(content: bytes) -> np.ndarray:
    image = decoded("x", content)
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize(
    ("kind", "channels"),
    [(GREY, [0]), (RED_GREEN_BLUE, [0, 1, 2]), (WITH_ALPHA, [0, 1, 2, 3]), (GREY_ALPHA, [0, 3])],
)
def test_sixteen_bits_look_as_eight(kind: int, channels: list[int]) -> None:
    eight = PIXELS[..., channels]
    expected = np.broadcast_to(eight[..., :3] if len(channels) > 2 else eight[..., :1], (9, 7, 3))
    assert np.array_equal(pixels_of(png(eight, 8, kind)), expected)
    assert np.array_equal(pixels_of(png(eight.astype(np.uint16) * 257, 16, kind)), expected)


def test_sixteen_bits_are_cut_alike_in_grey_and_in_colour() -> None:
    values = np.arange(0, 65536, 37, np.uint16).reshape(-1, 1, 1)
    grey = pixels_of(png(values, 16, GREY))
    colour = pixels_of(png(values.repeat(3, 2), 16, RED_GREEN_BLUE))
    assert np.array_equal(grey, colour)
    assert set(grey.ravel().tolist()) == set(range(256))


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM", "JPEG2000"])
@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_grey_of_sixteen_bits_in_other_formats(format: str, mode: str) -> None:
    eight = PIXELS[..., 0]
    raw = (eight.astype(np.uint16) * 257).astype(">u2" if mode == "I;16B" else "<u2")
    image = Image.frombytes(mode, (7, 9), raw.tobytes())
    try:
        content = saved(image, format)
    except OSError as error:
        pytest.skip(f"this PIL does not write it: {error}")
    expected = eight[..., None].repeat(3, 2)
    assert np.array_equal(pixels_of(content), expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_eight_bits_are_what_pil_makes_of_them(mode: str, format: str) -> None:
    image = Image.fromarray(PIXELS).convert("RGB").convert(mode)
    try:
        content = saved(image, format)
    except OSError:
        pytest.skip(f"there is no {format} of mode {mode}")
    with Image.open(io.BytesIO(content)) as opened:
        assert np.array_equal(pixels_of(content), np.asarray(opened.convert("RGB")))


@pytest.mark.parametrize("transparency", [3, bytes(range(256))])
def test_a_palette_with_transparency_keeps_its_colours(transparency: Any) -> None:
    image = Image.fromarray(PIXELS[..., :3]).convert("P")
    plain = pixels_of(saved(image, "PNG"))
    # PIL warns of the second kind, and warnings are errors here.
    assert np.array_equal(pixels_of(saved(image, "PNG", transparency=transparency)), plain)


def test_the_noted_orientation_is_not_applied() -> None:
    image, noted = Image.fromarray(PIXELS[..., :3]), Image.Exif()
    noted[0x0112] = 6
    content = saved(image, "PNG", exif=noted)
    assert np.array_equal(pixels_of(content), PIXELS[..., :3])


@pytest.mark.parametrize(("mode", "kind"), [("F", np.float32), ("I", np.int32)])
def test_pixels_of_unknown_range_are_refused(mode: str, kind: Any) -> None:
    content = saved(Image.fromarray(PIXELS[..., 0].astype(kind)), "TIFF")
    with pytest.raises(ValueError, match=rf"a/b\.png cannot be decoded: .*mode '{mode}'.*16 bits"):
        decoded("a/b.png", content)


def bomb() -> bytes:
    """The head of a PNG of 4e8 pixels: no more is looked at."""
    whole = png(PIXELS[..., :1], 8, GREY)
    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    return whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (bomb(), "more than 178,956,970 pixels; scale it down, or remove it"),
        (b"version https://git-lfs", "no image of a known format (it begins with b'version http')"),
        (b"", "no image of a known format (it is empty); replace or remove it"),
        (png(PIXELS[..., :1], 8, GREY)[:60], "replace or remove it"),
        (saved(Image.fromarray(PIXELS[..., :3]), "JPEG")[:300], "replace or remove it"),
    ],
    ids=["bomb", "text", "empty", "cut PNG", "cut JPEG"],
)
def test_what_is_no_image_is_named(content: bytes, said: str) -> None:
    with pytest.raises(ValueError, match="cannot be decoded") as raised:
        decoded("a/b.png", content)
    message = str(raised.value)
    assert message.startswith("a/b.png cannot be decoded: ")
    assert said in message
    assert "0x" not in message
    assert "\n" not in message


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    data_files.use(tmp_path, monkeypatch)
    monkeypatch.setenv("ARCHPRIOR_CACHE", str(tmp_path / "cache"))
    tasks.clear_cache()
    data_files.write_tree(tmp_path / "imagenet")
    return tmp_path / "imagenet"


def test_a_tree_of_sixteen_bits_gives_the_tensors_of_eight(root: Path) -> None:
    for path in sorted(root.glob("*/*/*")):
        grey = np.asarray(Image.open(path).convert("L"))
        if path.parent.name == "n0001":
            Image.fromarray(grey.astype(np.uint16) * 257).save(path, "PNG")
        else:
            Image.fromarray(grey).save(path, "PNG")
    mixed = TASKS["imagenet"].factory(size=16, classes=3).test.inputs[:]
    for path in sorted(root.glob("*/n0001/*")):
        eight = np.asarray(Image.open(path)) // 257
        Image.fromarray(eight.astype(np.uint8)).save(path, "PNG")
    assert torch.equal(TASKS["imagenet"].factory(size=16, classes=3).test.inputs[:], mixed)


@pytest.mark.processes
@pytest.mark.parametrize("loaders", [0, 1])
def test_an_image_that_cannot_be_decoded_costs_the_replicates_that_need_it(
    root: Path, tmp_path: Path, loaders: int
) -> None:
    bad = root / "val" / "n0002" / "val_1.JPEG"
    bad.write_bytes(b"<html>not found</html>")
    fcn = ARCHITECTURES.component("fcn", depth=2, width=8)
    conditions = [
        Condition(
            task=TASKS.component("imagenet", size=16, classes=classes),
            target=fcn,
            train=TrainSettings(steps=2, batch_size=4),
        )
        for classes in (3, 2)
    ]
    reports: list[Message] = []
    workers = Workers(loaders)
    run_trial(
        [(condition, 0) for condition in conditions],
        TrialContext(store=str(tmp_path / "store"), report=reports.append, workers=workers),
    )
    ends = [(r.status, r.error) for r in reports if isinstance(r, Ended)]
    said = "no image of a known format (it begins with b'<html>not fo'); replace or remove it"
    assert ends == [
        ("failed", f"UserError: {bad} cannot be decoded: {said}"),
        ("finished", None),
    ]
    failure = Store(tmp_path / "store").replicate_of(conditions[0], 0).failure()
    assert failure is not None
    assert "decoding.py" in failure.traceback
