"""Small charts as SVG: no text in them, so that they stretch to any width; words and numbers stand around them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from math import floor, log10

from markupsafe import Markup, escape

HEIGHT = 100.0

Values = Sequence[float | None]


def nice(most: float) -> float:
    """The end of a scale of which a half is round, too."""
    if most <= 2:
        return 2.0
    power = 10.0 ** floor(log10(most))
    return next(step * power for step in (1, 2, 4, 5, 6, 8, 10) if step * power >= most)


def lines(values: Values, before: Values, title: str, words: str, labels: Sequence[str]) -> Markup:
    """A line of days over its area, the days before dashed behind it; None is a gap. Each day tells its label.

    The last day is not over, so the line to it is dashed.
    """
    top = nice(max(value for value in (*values, *before) if value is not None))
    over: Values = [*values[:-1], None]
    open_: Values = [*[None] * (len(values) - 2), *values[-2:]]
    parts = [_grid(len(values)), _path("before", before, top), _area(values, top)]
    parts += [_path("line", over, top), _path("line open", open_, top)]
    if (last := values[-1]) is not None:
        parts.append(Markup('<path class="dot" d="M{} {:.1f}h0"/>').format(len(values) - 1, _y(last, top)))
    parts += _days(labels)
    return _svg("chart", f"-0.5 -4 {len(values)} {HEIGHT + 8:.0f}", title, words, parts)


def bars(values: Sequence[float], title: str, words: str, labels: Sequence[str]) -> Markup:
    """A bar for each day."""
    top = nice(max(values))
    parts = [_grid(len(values))]
    for place, value in enumerate(values):
        box = Markup('<rect class="column" x="{:.2f}" y="{:.2f}" width="0.7" height="{:.2f}"/>')
        parts.append(box.format(place - 0.35, _y(value, top), HEIGHT - _y(value, top)))
    return _svg("chart", f"-0.5 -4 {len(values)} {HEIGHT + 8:.0f}", title, words, [*parts, *_days(labels)])


def spark(values: Values) -> Markup:
    """A line without words, beside numbers that say it."""
    known = [value for value in values if value is not None]
    if len(known) < 2 or not max(known):
        return Markup("")
    top = max(known)
    view = f"0 -6 {len(values) - 1} {HEIGHT + 12:.0f}"
    return Markup('<svg class="spark" viewBox="{}" preserveAspectRatio="none" aria-hidden="true">{}</svg>').format(
        view, _path("line", values, top)
    )


def share(part: float, whole: float, kind: str = "") -> Markup:
    """A bar of a share, beside the number that says it."""
    width = 100 * part / whole if whole else 0
    return Markup(
        '<svg class="share {}" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="rest" width="100" height="1"/><rect class="part" width="{:.1f}" height="1"/></svg>'
    ).format(kind, width)


def strip(kinds: Sequence[str], title: str, words: str, labels: Sequence[str]) -> Markup:
    """A box for each day, coloured by its kind."""
    parts = [
        Markup('<rect class="{}" x="{:.2f}" width="0.8" height="1"><title>{}</title></rect>').format(
            kind, place + 0.1, label
        )
        for place, (kind, label) in enumerate(zip(kinds, labels, strict=True))
    ]
    return _svg("strip", f"0 0 {len(kinds)} 1", title, words, parts)


def _svg(kind: str, view: str, title: str, words: str, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg class="{}" role="img" viewBox="{}" preserveAspectRatio="none"><title>{}</title><desc>{}</desc>{}</svg>'
    ).format(kind, view, title, words, Markup("").join(parts))


def _y(value: float, top: float) -> float:
    return HEIGHT * (1 - value / top) if top else HEIGHT


def _grid(days: int) -> Markup:
    line = Markup('<path class="grid" d="M-0.5 {:.0f}H{:.1f}"/>')
    return Markup("").join(line.format(y, days - 0.5) for y in (0, HEIGHT / 2, HEIGHT))


def _runs(values: Values) -> Iterator[list[tuple[int, float]]]:
    """The places that have values, parted by the gaps."""
    for is_gap, run in groupby(enumerate(values), key=lambda one: one[1] is None):
        if not is_gap:
            yield [(place, value) for place, value in run if value is not None]


def _path(kind: str, values: Values, top: float) -> Markup:
    steps = " ".join(
        "M" + "L".join(f"{place} {_y(value, top):.1f}" for place, value in run) + ("h0" if len(run) == 1 else "")
        for run in _runs(values)
    )
    return Markup('<path class="{}" d="{}"/>').format(kind, steps) if steps else Markup("")


def _area(values: Values, top: float) -> Markup:
    steps = " ".join(
        f"M{run[0][0]} {HEIGHT:.0f}L"
        + "L".join(f"{place} {_y(value, top):.1f}" for place, value in run)
        + f"L{run[-1][0]} {HEIGHT:.0f}Z"
        for run in _runs(values)
        if len(run) > 1
    )
    return Markup('<path class="area" d="{}"/>').format(steps) if steps else Markup("")


def _days(labels: Sequence[str]) -> list[Markup]:
    """What a pointer finds on each day."""
    return [
        Markup('<g class="day"><title>{}</title><rect x="{:.1f}" y="-4" width="1" height="{:.0f}"/></g>').format(
            escape(label), place - 0.5, HEIGHT + 8
        )
        for place, label in enumerate(labels)
    ]
