"""The scale of greens on which tokens are tinted, as style rules for light and dark pages."""

from __future__ import annotations

__all__ = ["N_TINTS", "greens", "tint_level", "tint_rules"]

N_TINTS = 32
_STOPS = ("f7fcf5", "e5f5e0", "c7e9c0", "a1d99b", "74c476", "41ab5d", "238b45", "006d2c", "00441b")
"""ColorBrewer's nine-class Greens, which plotting libraries interpolate between."""
_DARK_STOPS = ("1c2422", "1b3a2a", "1f5535", "23713f", "2f8f4f", "4bab63", "74c476", "a1d99b", "d5efcf")
"""From the dark page to light green; ours."""
_EQUAL_CONTRAST = 0.18


def tint_level(tint: float) -> int:
    """The level, 0 to 32, of a tint from 0 to 1; only 0 itself is level 0, which has no colour."""
    return 0 if tint <= 0 else max(1, round(tint * N_TINTS))


def greens(value: float, *, dark: bool = False) -> str:
    """The colour at a place of the scale from 0 (almost the page) to 1 (the most contrast with it), as ``#rrggbb``."""
    stops = _DARK_STOPS if dark else _STOPS
    place = min(max(value, 0.0), 1.0) * (len(stops) - 1)
    first = min(int(place), len(stops) - 2)
    low, high = (bytes.fromhex(stop) for stop in stops[first : first + 2])
    return "#" + bytes(round(a + (b - a) * (place - first)) for a, b in zip(low, high, strict=True)).hex()


def tint_rules() -> str:
    """One rule per level, ``.g1`` to ``.g32``, for light pages and paper, and for dark screens."""
    levels = [(level, level / N_TINTS) for level in range(1, N_TINTS + 1)]
    light = "".join(_rule(level, greens(value)) for level, value in levels)
    dark = "".join(_rule(level, greens(value, dark=True)) for level, value in levels)
    return f"{light}@media screen and (prefers-color-scheme: dark) {{\n{dark}}}\n"


def _rule(level: int, colour: str) -> str:
    """Black or white text, whichever has more contrast (at a luminance of 0.18 both have as much)."""
    linear = [(part / 255) ** 2.2 for part in bytes.fromhex(colour[1:])]
    luminance = sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return f".g{level}{{background:{colour};color:{'#000' if luminance > _EQUAL_CONTRAST else '#fff'}}}\n"
