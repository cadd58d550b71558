"""Decoding: pixels as PIL has them; what is wrong is refused in one line, and nothing else is said."""

import contextlib
import io
import logging
import warnings

import numpy as np
import pytest
from image_files import pictures, png
from PIL import Image

from dml.data.decode import Origin, decode_images, quiet
from dml.errors import ArgumentError, InputError

ORIGIN = Origin("dataset", "mine")
COLOURS = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def one(data):
    return decode_images([("photo", data)], 1, None, ORIGIN)


def test_an_origin_makes_the_errors_about_its_files():
    error = Origin("source", "/a/b").error("is empty")
    assert (type(error), error.field, error.value, error.right) == (InputError, "source", "/a/b", "is empty")
    assert type(Origin("NAME", "mnist", ArgumentError).error("is empty")) is ArgumentError


@pytest.mark.parametrize("channels", [1, 3])
def test_all_images_become_one_array(channels):
    x = pictures(5, 6, channels)
    assert np.array_equal(decode_images(((str(k), png(p)) for k, p in enumerate(x)), 5, None, ORIGIN), x)


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGBA", 3)])
def test_grey_images_have_one_channel_and_all_others_three(mode, channels):
    white = encoded(Image.new("RGB", (7, 5), (255, 255, 255)).convert(mode), "PNG")
    assert one(white).shape == (1, channels, 5, 7)
    assert (one(white) == 255).all()


def test_images_of_another_size_are_named():
    small, large = png(pictures(1, 6)[0]), png(pictures(1, 7)[0])
    expected = "dataset mine: images must all have one size: b is 1 x 7 x 7, others are 1 x 6 x 6"
    with pytest.raises(InputError, match=expected):
        decode_images([("a", small), ("b", large)], 2, None, ORIGIN)
    with pytest.raises(InputError, match=expected):
        decode_images([("b", large)], 1, (1, 6, 6), ORIGIN)


def test_more_than_8_bits_are_not_cut():
    with pytest.raises(InputError, match="photo has more than 8 bits per channel; convert it"):
        one(encoded(Image.fromarray(np.zeros((4, 4), np.uint16)), "PNG"))


@pytest.mark.parametrize("side", [12_000, 20_000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side, capfd):
    """PIL itself warns of the first size, decodes it, and refuses the second."""
    bomb = encoded(Image.new("1", (side, 8_000)), "PNG")
    assert len(bomb) < 100_000
    with pytest.raises(InputError, match=r"^dataset mine: photo has more than 89,478,485 pixels$"):
        one(bomb)
    assert capfd.readouterr() == ("", "")


TIFF = [("TIFF", {"compression": name}) for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg")]


@pytest.mark.parametrize(
    ("kind", "options"),
    [*((kind, {}) for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "PPM", "TIFF")), *TIFF],
    ids=str,
)
def test_a_truncated_or_damaged_image_is_refused_in_one_line_and_no_library_speaks(kind, options, capfd):
    whole = encoded(Image.fromarray(COLOURS), kind, **options)
    assert one(whole).shape == (1, 3, 64, 64)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for share in (0.05, 0.3, 0.6, 0.95):
            with pytest.raises(InputError) as refusal:
                one(whole[: int(share * len(whole))])
            assert str(refusal.value).startswith("dataset mine: photo is damaged (")
            assert "\n" not in str(refusal.value)
            assert "BytesIO" not in str(refusal.value)
    damaged = bytearray(whole)
    for place in range(len(whole) // 4, len(whole), 97):
        damaged[place] ^= 0xFF
    # Not all formats notice; those that do must not print anything either.
    with contextlib.suppress(InputError):
        one(bytes(damaged))
    assert warned == []
    assert capfd.readouterr() == ("", "")


def test_odd_images_that_can_be_read_cause_no_warning(capfd, caplog):
    """PIL warns of a palette with a list of transparencies."""
    palette = Image.fromarray(COLOURS).quantize(16)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert one(encoded(palette, "PNG", transparency=bytes(range(16)))).shape == (1, 3, 64, 64)
    assert (warned, caplog.records, capfd.readouterr()) == ([], [], ("", ""))


def test_quiet_ends_with_its_block(capfd, caplog):
    with quiet():
        logging.getLogger("PIL.TiffImagePlugin").error("hidden")
        logging.getLogger("datasets").critical("hidden")
        warnings.warn("hidden", stacklevel=1)
    with pytest.warns(UserWarning, match="shown"):
        warnings.warn("shown", stacklevel=1)
    logging.getLogger("PIL.TiffImagePlugin").error("shown")
    assert [record.getMessage() for record in caplog.records] == ["shown"]
    assert "hidden" not in "".join(capfd.readouterr())
