"""Looks at one picture: its size, its digest and what is wrong with it. Pixels are decoded only on suspicion."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from enum import StrEnum
from typing import IO

from PIL import Image, JpegImagePlugin

from workers.datasets.problems import Severity

MIN_SIDE = 10
"""Pixels; Ultralytics drops what is smaller."""
LARGE_PIXELS = 64_000_000
"""A larger picture is trained as a smaller copy."""
MAX_PIXELS = 256_000_000
"""No picture above this is ever decoded."""
MAX_UNSCALED_PIXELS = 178_000_000
"""The same for formats that cannot be decoded at a reduced size."""
WHOLE_FILE = 4 * 1024 * 1024
"""Files up to this size are read and digested whole, larger ones by size and samples, so that terabytes end."""

_FORMATS = ("PNG", "BMP", "TIFF", "WEBP", "JPEG2000", "AVIF")
_END_OF_JPEG = b"\xff\xd9"
_START_OF_SCAN = b"\xff\xda"
_IMPOSSIBLE_MARKER = re.compile(rb"\xff[\x01-\xbf\xf0-\xfd]")
# Number of codes of each length in the usual table for AC coefficients. With it, zero bytes never come in a run.
_USUAL_HUFFMAN = bytes((0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7D))
_ZERO_RUN = bytes(64)
_EXIF_ORIENTATION = 0x0112
_EXIF_TURNED = (5, 6, 7, 8)


class Flaw(StrEnum):
    """What can be wrong with a picture."""

    NOT_A_FILE = "not a file"
    UNREADABLE = "unreadable"
    EMPTY = "empty"
    LFS_POINTER = "lfs pointer"
    HTML = "html"
    NOT_AN_IMAGE = "not an image"
    TRUNCATED = "truncated"
    DAMAGED = "damaged"
    TOO_SMALL = "too small"
    TOO_LARGE = "too large"
    UNSUPPORTED_MODE = "unsupported mode"
    LARGE = "large"
    NO_END_MARKER = "no end marker"
    SIXTEEN_BIT = "sixteen bit"
    CMYK = "cmyk"
    PALETTE = "palette"
    TRANSPARENT = "transparent"
    ONE_BIT = "one bit"


@dataclass(frozen=True)
class Verdict:
    """What a flaw means. `found` may use {size}, {megapixels} and {mode}."""

    found: str
    advice: str
    usable: bool = False
    severity: Severity = Severity.WARNING


_LEFT_OUT = "it is left out"
VERDICTS = {
    Flaw.NOT_A_FILE: Verdict("something that is not a regular file, or a broken link", _LEFT_OUT),
    Flaw.UNREADABLE: Verdict("a file that cannot be opened", f"{_LEFT_OUT}; check its permissions"),
    Flaw.EMPTY: Verdict("0 bytes", f"{_LEFT_OUT}; copy it again"),
    Flaw.LFS_POINTER: Verdict("a Git LFS pointer", f"{_LEFT_OUT}; run git lfs pull"),
    Flaw.HTML: Verdict("an HTML page", f"{_LEFT_OUT}; download it again"),
    Flaw.NOT_AN_IMAGE: Verdict("a file of another kind", _LEFT_OUT),
    Flaw.TRUNCATED: Verdict("a file that is cut short or broken", f"{_LEFT_OUT}; copy it again"),
    Flaw.DAMAGED: Verdict("a JPEG with overwritten bytes", f"{_LEFT_OUT}, as it decodes to garbage"),
    Flaw.TOO_SMALL: Verdict("{size} pixels, too small", f"{_LEFT_OUT}; {MIN_SIDE} pixels are the least"),
    Flaw.TOO_LARGE: Verdict("{size} pixels ({megapixels} megapixels), too large", f"{_LEFT_OUT}; downscale it"),
    Flaw.UNSUPPORTED_MODE: Verdict("pixels of mode {mode}", f"{_LEFT_OUT}; save it with 8 bits a channel"),
    Flaw.LARGE: Verdict(
        "{size} pixels ({megapixels} megapixels), very large", "a downscaled copy is trained", usable=True
    ),
    Flaw.NO_END_MARKER: Verdict("a JPEG without its end marker", "a repaired copy is trained", usable=True),
    Flaw.SIXTEEN_BIT: Verdict(
        "16-bit gray, which would train nearly black", "a copy scaled to 8 bits is trained", usable=True
    ),
    Flaw.CMYK: Verdict("{mode} colours", "a copy in RGB is trained; compare its colours", usable=True),
    Flaw.PALETTE: Verdict("a palette", "a copy in RGB is trained", usable=True, severity=Severity.NOTE),
    Flaw.TRANSPARENT: Verdict("transparency", "a copy without it is trained", usable=True, severity=Severity.NOTE),
    Flaw.ONE_BIT: Verdict("1-bit pixels", "a copy in RGB is trained", usable=True, severity=Severity.NOTE),
}
DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
"""Gray with more than 8 bits."""
_FLAW_OF_MODE = {
    **dict.fromkeys(DEEP_MODES, Flaw.SIXTEEN_BIT),
    **dict.fromkeys(("CMYK", "YCbCr", "LAB", "HSV"), Flaw.CMYK),
    **dict.fromkeys(("P", "PA"), Flaw.PALETTE),
    **dict.fromkeys(("RGBA", "RGBa", "LA", "La", "RGBX"), Flaw.TRANSPARENT),
    "1": Flaw.ONE_BIT,
    "F": Flaw.UNSUPPORTED_MODE,
}


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of a picture.

    Attributes:
        digest: Hex digest of the content; empty if it could not be read.
        width: Pixels, as displayed (a turn by EXIF is applied); 0 if unknown.
        height: Pixels, likewise.
        mode: Pillow's name of the pixel format.
        flaw: What is wrong, if anything.
        is_flat: Whether all pixels have one colour.
    """

    digest: str = ""
    width: int = 0
    height: int = 0
    mode: str = ""
    flaw: Flaw | None = None
    is_flat: bool = False

    @property
    def is_usable(self) -> bool:
        """Whether the picture, or a copy made from it, can be trained on."""
        return self.flaw is None or VERDICTS[self.flaw].usable

    @property
    def found(self) -> str:
        """The flaw in words."""
        if self.flaw is None:
            return "nothing wrong"
        found = VERDICTS[self.flaw].found.format(
            size=f"{self.width}x{self.height}", megapixels=round(self.width * self.height / 1e6), mode=self.mode
        )
        return f"{found} that decode to one single colour" if self.is_flat else found


def inspect_image(path: str) -> ImageFacts:
    """Look at the picture at `path`; reads at most `WHOLE_FILE` bytes and never blocks on a pipe or a device."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return ImageFacts(flaw=Flaw.NOT_A_FILE)
        with open(path, "rb") as file:
            sample = read_sample(file, status.st_size)
            if (flaw := _flaw_of_content(sample.head)) is not None:
                return ImageFacts(sample.digest, flaw=flaw)
            file.seek(0)
            return _inspect(file, sample)
    except FileNotFoundError:
        return ImageFacts(flaw=Flaw.NOT_A_FILE)
    except OSError:
        return ImageFacts(flaw=Flaw.UNREADABLE)


@dataclass(frozen=True)
class Sample:
    """What was read of a file: all of it, or the beginning, middle and end of a large one."""

    head: bytes
    tail: bytes
    digest: str


def read_sample(file: IO[bytes], size: int) -> Sample:
    """Read and digest `file` of `size` bytes; see `WHOLE_FILE`."""
    digest = hashlib.blake2b(digest_size=20)
    if size <= WHOLE_FILE:
        content = file.read(WHOLE_FILE)
        digest.update(content)
        return Sample(content, content, digest.hexdigest())
    parts = []
    length = WHOLE_FILE // 4
    for offset in (0, size // 2, size - length):
        file.seek(offset)
        parts.append(file.read(length))
        digest.update(parts[-1])
    digest.update(str(size).encode())
    return Sample(parts[0], parts[-1], digest.hexdigest())


def _flaw_of_content(head: bytes) -> Flaw | None:
    if not head:
        return Flaw.EMPTY
    if head.startswith(b"version https://git-lfs"):
        return Flaw.LFS_POINTER
    if head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return Flaw.HTML
    return None


def _inspect(file: IO[bytes], sample: Sample) -> ImageFacts:
    try:
        image = open_image(file)
        if image is None:
            return ImageFacts(sample.digest, flaw=Flaw.NOT_AN_IMAGE)
        width, height = _displayed_size(image)
        mode = image.mode
        flaw = _flaw_of_size(image)
        if flaw is None or flaw is Flaw.LARGE:
            flaw = _flaw_of_data(image, sample) or flaw or _FLAW_OF_MODE.get(mode)
        is_tiny = len(sample.head) < 2000 + width * height // 64  # bytes; a picture that shows something needs more
        is_flat = (flaw is Flaw.CMYK or (flaw is None and is_tiny)) and _is_flat(file)
    except Exception:  # on broken bytes Pillow's readers raise errors of many built-in classes
        return ImageFacts(sample.digest, flaw=Flaw.TRUNCATED)
    return ImageFacts(sample.digest, width, height, mode, flaw, is_flat)


def open_image(file: IO[bytes]) -> Image.Image | None:
    """Read the header of a picture; None if the format is none that can be trained on.

    `Image.open` would refuse or warn of large pictures by a global limit, and try formats that run other programs.
    """
    prefix = file.read(16)
    file.seek(0)
    if prefix.startswith(b"\xff\xd8\xff"):
        return JpegImagePlugin.JpegImageFile(file)
    Image.init()
    for name in _FORMATS:
        factory, accepts = Image.OPEN.get(name, (None, None))
        if factory and accepts and accepts(prefix) is True:
            return factory(file, "")
    return None


def _displayed_size(image: Image.Image) -> tuple[int, int]:
    is_turned = "exif" in image.info and image.getexif().get(_EXIF_ORIENTATION) in _EXIF_TURNED
    return (image.height, image.width) if is_turned else image.size


def _flaw_of_size(image: Image.Image) -> Flaw | None:
    pixels = image.width * image.height
    if min(image.size) < MIN_SIDE:
        return Flaw.TOO_SMALL
    if pixels > (MAX_PIXELS if image.format == "JPEG" else MAX_UNSCALED_PIXELS):
        return Flaw.TOO_LARGE
    return Flaw.LARGE if pixels > LARGE_PIXELS else None


def _flaw_of_data(image: Image.Image, sample: Sample) -> Flaw | None:
    """Whether the pixels are all there. An error of Pillow says no."""
    if image.format == "PNG":
        image.verify()
    elif image.format != "JPEG":
        if image.width * image.height <= LARGE_PIXELS:
            image.load()
    elif not sample.tail.endswith(_END_OF_JPEG):
        _draft(image)
        image.load()
        return Flaw.NO_END_MARKER
    elif sample.head is sample.tail and _is_damaged(sample.head):
        return Flaw.DAMAGED
    return None


def _is_damaged(content: bytes) -> bool:
    scan = content.rfind(_START_OF_SCAN)
    if scan < 0 or _IMPOSSIBLE_MARKER.search(content, scan + 2):
        return True
    return _USUAL_HUFFMAN in content and content.find(_ZERO_RUN, scan) >= 0


def _is_flat(file: IO[bytes]) -> bool:
    file.seek(0)
    image = open_image(file)
    if image is None:
        return False
    _draft(image)
    return all(len(set(band.getextrema())) == 1 for band in image.convert("RGB").split())


def _draft(image: Image.Image) -> None:
    """Have a JPEG decoded at an eighth of its size: all of its bytes are read, few pixels are made."""
    image.draft(image.mode, (image.width // 8, image.height // 8))
