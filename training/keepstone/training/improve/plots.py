"""Plots as inline SVG, for reports and pages: the curve of a training, and differences with their intervals.

They take the colour of the text around them, need no script and no file beside them, and say in words what they show.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_WIDTH, _HEIGHT = 640, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 14, 34
# So many steps weigh in the smoothed curve, as a share of all.
_SMOOTH = 0.05
_ROW = 30


@dataclass(frozen=True, slots=True)
class Bar:
    """A difference with its interval."""

    name: str
    value: float
    low: float
    high: float


def curve(points: Sequence[tuple[float, float]], *, x: str, y: str) -> str:
    """Return a line through points, with a smoothed one over it; without two finite points, nothing.

    Args:
        points: by rising x.
        x: what x is.
        y: what y is.
    """
    points = [point for point in points if all(map(math.isfinite, point))]
    if len(points) < 2:
        return ""
    across = _Scale(points[0][0], points[-1][0], _LEFT, _WIDTH - _RIGHT)
    lows, highs = min(each for _, each in points), max(each for _, each in points)
    up = _Scale(*_wide(lows, highs), _HEIGHT - _BOTTOM, _TOP)
    parts = [
        *_rules(across, up),
        _line(points, across, up, 'stroke-opacity="0.3"'),
        _line(_smoothed(points), across, up, 'stroke-width="2"'),
        _text(_WIDTH - _RIGHT, _HEIGHT - 4, x, "end"),
        _text(4, _TOP - 3, y, "start"),
    ]
    words = f"{y} over {len(points)} {x}s, from {points[0][1]:.3g} to {points[-1][1]:.3g}"
    return _svg(parts, _HEIGHT, words)


def intervals(bars: Sequence[Bar]) -> str:
    """Return differences as dots with whiskers about zero, one a row; without any, nothing."""
    if not bars:
        return ""
    left, height = 200, _ROW * len(bars) + _TOP + _BOTTOM
    scale = _Scale(*_wide(min(0.0, *(bar.low for bar in bars)), max(0.0, *(bar.high for bar in bars))), left, 628)
    parts = []
    for tick in scale.ticks():
        at = scale(tick)
        strong = "0.6" if tick == 0 else "0.15"
        parts.append(_rule(at, _TOP, at, height - _BOTTOM, strong))
        parts.append(_text(at, height - _BOTTOM + 18, f"{tick:+g}" if tick else "0", "middle"))
    for number, bar in enumerate(bars):
        y = _TOP + _ROW * (number + 0.5)
        sure = bar.low > 0 or bar.high < 0
        width = 2.5 if sure else 1.2
        start, end, at = scale(bar.low), scale(bar.high), scale(bar.value)
        parts.append(_text(left - 16, y + 4, bar.name, "end"))
        parts.append(
            f'<line x1="{start:.1f}" y1="{y:.1f}" x2="{end:.1f}" y2="{y:.1f}" stroke-width="{width}"/>'
            f'<circle cx="{at:.1f}" cy="{y:.1f}" r="4.5" fill="{"currentColor" if sure else "none"}"/>'
        )
    words = "; ".join(f"{bar.name} {bar.value:+.3f}, from {bar.low:+.3f} to {bar.high:+.3f}" for bar in bars)
    return _svg(parts, height, words)


class _Scale:
    """Places values on a stretch of the picture."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self._low, self._span = low, (high - low) or 1.0
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        return self._start + (value - self._low) / self._span * (self._end - self._start)

    def ticks(self, most: int = 6) -> Iterator[float]:
        """Yield round values within the stretch."""
        raw = self._span / most
        unit = 10.0 ** math.floor(math.log10(raw))
        step = next(unit * each for each in (1, 2, 5, 10) if unit * each >= raw * 0.999)
        first = math.ceil(self._low / step - 1e-9)
        last = math.floor((self._low + self._span) / step + 1e-9)
        yield from (number * step for number in range(first, last + 1))


def _rules(across: _Scale, up: _Scale) -> Iterator[str]:
    for tick in up.ticks(5):
        yield _rule(_LEFT, up(tick), _WIDTH - _RIGHT, up(tick), "0.15")
        yield _text(_LEFT - 6, up(tick) + 4, f"{tick:g}", "end")
    for tick in across.ticks():
        yield _text(across(tick), _HEIGHT - _BOTTOM + 18, f"{tick:g}", "middle")


def _smoothed(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points with their exponential mean, corrected for its beginning."""
    keep = 1 - 1 / max(1.0, len(points) * _SMOOTH)
    total = weight = 0.0
    means = []
    for x, y in points:
        total, weight = keep * total + y, keep * weight + 1
        means.append((x, total / weight))
    return means


def _wide(low: float, high: float) -> tuple[float, float]:
    """Return a range with some air about it, wide enough for its ticks to be told apart."""
    size, span = max(abs(low), abs(high)), high - low
    air = span * 0.06 if span > size * 1e-6 else size * 0.1
    air = air if air > 1e-9 else 1.0
    return low - air, high + air


def _line(points: Sequence[tuple[float, float]], across: _Scale, up: _Scale, style: str) -> str:
    path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" {style}/>'


def _rule(x1: float, y1: float, x2: float, y2: float, opacity: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke-opacity="{opacity}"/>'


def _text(x: float, y: float, words: str, anchor: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="currentColor" stroke="none" font-size="12">{html.escape(words)}</text>'


def _svg(parts: Sequence[str], height: float, words: str) -> str:
    label = html.escape(words, quote=True)
    head = f'<svg viewBox="0 0 {_WIDTH} {height:g}" role="img" aria-label="{label}" xmlns="http://www.w3.org/2000/svg"'
    return f'{head} stroke="currentColor" fill="none" style="width:100%;height:auto">{"".join(parts)}</svg>'
