"""How numbers are written for readers."""

from __future__ import annotations

import math


def score(value: object) -> str:
    """Four significant digits, whole numbers as they are; a dash for nothing."""
    if value is None or isinstance(value, str):
        return value or "–"
    if not isinstance(value, int | float):
        return str(value)
    number = float(value)
    if not math.isfinite(number):
        return "–"
    if number.is_integer() and abs(number) < 1e15:
        return f"{number:,.0f}"
    if not 1e-5 <= abs(number) < 1e12:
        return f"{number:.3e}"
    digits = max(0, 3 - math.floor(math.log10(abs(number))))
    return f"{number:,.{min(digits, 5)}f}"


def probability(value: object) -> str:
    """A p value: three digits are all that one can use."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def units(value: object) -> str:
    """Pieces: whole from ten on, with two digits below."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return score(value)
    if abs(value) >= 10 or float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:.2g}"


def measured(value: float | None, unit: str) -> str:
    """A score with the sign of its unit, if it has one."""
    return f"{score(value)} %" if unit == "percent" and value is not None else score(value)


def points(value: object) -> str:
    """Percent that are already times a hundred, to a tenth; large ones are whole."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return score(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"


def percent(share: float, digits: int = 0) -> str:
    """A share as percent."""
    return f"{100 * share:.{digits}f} %"


def seconds(value: float) -> str:
    """A time that a person reads."""
    if value < 120:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
