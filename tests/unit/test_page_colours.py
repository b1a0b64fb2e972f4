"""The colours of the page can be read, in the light and in the dark (WCAG 2.2, level AA)."""

import re

import pytest

from penstock.query.web.page import static_files

TEXT, PICTURE = 4.5, 3.0  # the least contrast of each
SERIES = "abcdefg"
ON: dict[str, list[str]] = {
    "ink": ["ground", "surface", "sunk", "bad-wash", "warn-wash", "water-wash", "calm-wash"],
    "muted": ["ground", "surface", "water-wash"],
    "water": ["ground", "surface", "water-wash"],
    "bad": ["ground", "surface"],
    "warn": ["surface"],
}


def palette(scheme: int) -> dict[str, str]:
    """The colours by name; 0 is light, 1 is dark."""
    [css] = [file.content.decode() for file in static_files() if file.name == "page.css"]
    found = re.findall(r"--([\w-]+): light-dark\((#\w+), (#\w+)\);", css)
    return {name: pair[scheme] for name, *pair in found}


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [of / 12.92 if of <= 0.04045 else ((of + 0.055) / 1.055) ** 2.4 for of in parts]
    return sum(weight * of for weight, of in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("name", ON)
def test_text_can_be_read(name: str, scheme: int) -> None:
    colours = palette(scheme)
    for ground in ON[name]:
        assert contrast(colours[name], colours[ground]) >= TEXT, ground


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("name", SERIES)
def test_lines_of_charts_can_be_seen(name: str, scheme: int) -> None:
    colours = palette(scheme)
    assert contrast(colours[name], colours["surface"]) >= PICTURE


def test_black_on_white_is_the_most() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
