"""Decodes images from files into arrays of pixels."""

import io
import logging
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dml.errors import InputError


@dataclass(frozen=True)
class Origin:
    """The field that led to the files, as the user gave it; errors about the files name it.

    Args:
        field: the name of the field.
        value: its value.
        kind: the class of the errors.
    """

    field: str
    value: object
    kind: type[InputError] = InputError

    def error(self, right: str) -> InputError:
        """An error that names the field and its value, and says what is wrong."""
        return self.kind(self.field, self.value, right)


@contextmanager
def quiet() -> Iterator[None]:
    """Hides the warnings and log messages of the libraries that read files."""
    loggers = [logging.getLogger(name) for name in ("PIL", "datasets", "fsspec", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def decode_images(
    encoded: Iterable[tuple[str, bytes]], count: int, shape: tuple[int, ...] | None, origin: Origin
) -> NDArray[np.uint8]:
    """The pixels of images that all have one shape, [count, channels, height, width].

    Grey images have one channel, all others three.

    Args:
        encoded: for each image, its name in errors and its bytes.
        count: the number of images, at least one.
        shape: the shape that they must have; None for that of the first one.
        origin: the field that led to them.

    Raises:
        InputError: an image is damaged, too large, or of another shape.
    """
    from PIL import Image

    result: NDArray[np.uint8] | None = None
    with quiet():
        # A few kilobytes may decode to gigabytes: PIL warns of many pixels, and refuses only twice as many.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for row, (where, data) in enumerate(encoded):
            image = _decode(where, data, origin)
            shape = shape or image.shape
            if image.shape != shape:
                found, others = (" x ".join(map(str, s)) for s in (image.shape, shape))
                raise origin.error(f"images must all have one size: {where} is {found}, others are {others}")
            if result is None:
                result = np.empty((count, *shape), np.uint8)
            result[row] = image
    assert result is not None
    return result


def _decode(where: str, data: bytes, origin: Origin) -> NDArray[np.uint8]:
    """One image, [channels, height, width]."""
    from PIL import Image

    try:
        with _silent_libtiff(data), Image.open(io.BytesIO(data)) as image:
            if image.mode.startswith("I") or image.mode == "F":
                raise origin.error(f"{where} has more than 8 bits per channel; convert it")
            kind = "L" if image.mode in ("1", "L", "LA") else "RGB"
            pixels = np.asarray(image.convert(kind), np.uint8)
    except InputError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise origin.error(f"{where} has more than {Image.MAX_IMAGE_PIXELS:,} pixels") from None
    except Exception as error:
        # The decoders raise nearly anything for a damaged image. Some errors name the buffer that it is in.
        first = (str(error).splitlines() or [""])[0]
        reason = re.sub(r" *<_io\.BytesIO object at 0x[0-9a-fA-F]+>", "", f"{type(error).__name__}: {first}")
        raise origin.error(f"{where} is damaged ({reason})") from None
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


@contextmanager
def _silent_libtiff(data: bytes) -> Iterator[None]:
    """Hides what libtiff says about a damaged TIFF image; it bypasses Python to write to stderr."""
    if data[:4] not in (b"II*\0", b"MM\0*"):
        yield
        return
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
