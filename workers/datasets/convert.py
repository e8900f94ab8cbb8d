"""Makes the copy of a picture that would train wrongly, or not at all, as it is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageOps

from workers.datasets.images import DEEP_MODES, LARGE_PIXELS, open_image

LONG_SIDE = 4096
"""Pixels of the longer side to which a very large picture is scaled down."""
_CAMERA_BITS = (8, 10, 12, 14, 16)


def bit_depth(paths: Iterable[str]) -> int:
    """How many bits the brightest pixel of some gray pictures of 16 or 32 bits needs, as cameras count them.

    One depth serves a whole data set, so that a dark picture stays darker than a bright one.
    """
    brightest = 0
    for path in paths:
        with open(path, "rb") as file:
            image = open_image(file)
            if image is not None:
                brightest = max(brightest, int(np.asarray(image).max()))
    needed = brightest.bit_length()
    return next((bits for bits in _CAMERA_BITS if bits >= needed), needed)


def convert_image(source: str, target: Path, bits: int) -> Path:
    """Write an 8-bit gray or RGB copy of a picture, upright, complete and of a decent size.

    Args:
        source: The picture.
        target: Where the copy goes; its suffix is replaced by the one of the format that is chosen.
        bits: See `bit_depth`.

    Returns:
        The path of the copy.

    Raises:
        OSError, ValueError, SyntaxError: if the picture cannot be decoded after all.
    """
    with open(source, "rb") as file:
        image = open_image(file)
        if image is None:
            raise ValueError("the format is not known")
        is_jpeg = image.format == "JPEG"
        is_large = image.width * image.height > LARGE_PIXELS
        if is_large:
            image.draft(image.mode, (LONG_SIDE, LONG_SIDE))
        plain = ImageOps.exif_transpose(_eight_bits(image, bits))
    if is_large:
        plain.thumbnail((LONG_SIDE, LONG_SIDE))
    copy = target.with_suffix(".jpg" if is_jpeg else ".png")
    if is_jpeg:
        plain.save(copy, quality=95, subsampling=0, exif=b"")
    else:
        plain.save(copy, compress_level=1)
    return copy


def _eight_bits(image: Image.Image, bits: int) -> Image.Image:
    if image.mode in DEEP_MODES:
        values = np.asarray(image).astype(np.int64) >> max(bits - 8, 0)
        return Image.fromarray(values.clip(0, 255).astype(np.uint8))
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        # Pillow inverts every CMYK JPEG, as Adobe's programs write them inverted; only their marker says so
        image = ImageChops.invert(image)
    return image if image.mode in ("L", "RGB") else image.convert("RGB")
