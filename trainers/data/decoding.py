"""Decoding of image files to pixels: red, green and blue, 8 bits each."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from trainers.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

_SHOWN_BYTES = 12
#: Formats in which PIL scales grey of more than 8 bits to 16.
_SCALED = ("PNG", "PPM", "JPEG2000")
_BITS, _PHOTOMETRIC, _BLACK_IS_ZERO = 258, 262, 1


def decoded(name: str, content: bytes) -> Image.Image:
    """The first image of a file in RGB: 16 bits become their upper 8, transparency is dropped.

    `name` is for messages, `content` the bytes of the file. The file's orientation and colour
    profile are not applied. Raises UserError if it is no image, or its range of values is unknown.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as image:
            return _rgb(image)
    except UnidentifiedImageError as error:
        start = f"it begins with {content[:_SHOWN_BYTES]!r}" if content else "it is empty"
        raise UserError(
            f"{name} cannot be decoded: no image of a known format ({start}); replace or remove it"
        ) from error
    except Image.DecompressionBombError as error:
        raise UserError(
            f"{name} cannot be decoded: it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} "
            "pixels; scale it down, or remove it"
        ) from error
    # PIL warns at half as many pixels, which is an exception if warnings are errors.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombWarning) as error:
        raise UserError(f"{name} cannot be decoded: {error}; replace or remove it") from error


def _rgb(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode == "F" or image.mode.startswith("I"):
        if not _of_16_bits(image):
            raise UserError(
                f"its pixels are numbers of mode {image.mode!r} whose range is not known; save it "
                "with 8 or 16 bits a channel"
            )
        # As PIL does for 16-bit colours; grey above 255 it would cut off.
        upper = np.asarray(image).astype(np.uint16) >> 8
        return Image.fromarray(upper.astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _of_16_bits(image: Image.Image) -> bool:
    """Whether white is 65535 in an image of mode `I`, `I;16`, ... or `F`."""
    if image.format in _SCALED:
        return image.mode != "F"
    tags = getattr(image, "tag_v2", {})
    return (
        image.mode.startswith("I;16")
        and tags.get(_BITS) == (16,)
        and tags.get(_PHOTOMETRIC) == _BLACK_IS_ZERO
    )
