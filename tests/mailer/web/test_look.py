import re
from pathlib import Path

import pytest

CSS = Path(__file__).parents[3] / "mailer" / "web" / "static" / "public.css"
LIGHT = {
    "paper": "#faf6ef",
    "raised": "#ffffff",
    "ink": "#1d2433",
    "quiet": "#556074",
    "accent": "#7a2e12",
    "good": "#1f6b45",
    "warn": "#8a5a00",
    "bad": "#a3212b",
}
DARK = {
    "paper": "#15181f",
    "raised": "#1e232d",
    "ink": "#eef0f4",
    "quiet": "#a9b2c3",
    "accent": "#f0a878",
    "good": "#7fd1a5",
    "warn": "#f0c36a",
    "bad": "#f2939a",
}


def themes():
    blocks = re.findall(r":root\s*{(.*?)}", CSS.read_text(encoding="utf-8"), re.DOTALL)
    return [dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})", block)) for block in blocks]


def light_of(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    dark, bright = sorted((light_of(one), light_of(other)))
    return (bright + 0.05) / (dark + 0.05)


def test_both_themes_have_the_specified_colours():
    light, dark = themes()
    assert LIGHT.items() <= light.items()
    assert DARK.items() <= dark.items()
    assert light.keys() == dark.keys()


@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize("word", ["ink", "quiet", "accent", "good", "warn", "bad"])
@pytest.mark.parametrize("ground", ["paper", "raised"])
def test_every_word_can_be_read_on_every_ground(theme, word, ground):
    colours = themes()[theme]
    assert contrast(colours[word], colours[ground]) >= 4.5


@pytest.mark.parametrize("theme", [0, 1])
def test_the_banner_and_the_primary_button_can_be_read(theme):
    colours = themes()[theme]
    assert contrast(colours["band"], colours["on-band"]) >= 4.5
    assert contrast(colours["accent"], colours["paper"]) >= 4.5


def test_the_sheet_is_small_and_asks_nobody_else_for_anything():
    sheet = CSS.read_text(encoding="utf-8")
    assert len(sheet.encode()) < 15_000
    assert "url(" not in sheet
    assert "@import" not in sheet
    assert "@font-face" not in sheet
