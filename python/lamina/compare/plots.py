"""The plots of the page: matplotlib's SVG, made to lie inside HTML and follow its colours."""

import html
import io
import itertools
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lamina.compare.run import ModelResult
from lamina.compare.summary import bits, duration, printable, series

# Colours that stand for one of the page's own.
_INK, _RULE, _PAPER = "#010101", "#020202", "#030303"
_SERIES = [f"#0400{i:02x}" for i in range(6)]
_MARKERS = ("o", "s", "D", "^", "v", "P")
_DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (2, 1.4)), (0, (6, 2, 1.5, 2)))
_FONT = 13.0
_LINE = 17.0
# Pixels: a name this near is beside its mark, whose edge this far from its middle.
_BESIDE = 13.0
_MARK = 7.0
# What it costs a name to be nearer to the mark of another: more than to cover one.
_MISLEADING = 1e4

WIDE, NARROW = (860, 470), (358, 410)


def learning_curves(models: Sequence[ModelResult], size: tuple[int, int], name: str) -> str:
    """Bits per byte against seconds, as the text of an ``svg`` element."""
    models = [m for m in models if _drawn(m) and m.curve and _finite(m.curve[-1])]
    if not models:
        return ""
    with _figure(size) as (figure, axes):
        ends = [model.curve[-1] for model in models]
        _make_room(axes, size, models)
        latest = max(x for x, _ in ends) or 1.0
        axes.set_xlim(0, latest * 1.02)
        axes.set_ylim(*_bits_range(models))
        drawn: dict[str, int] = {}
        for model, (x, y) in zip(models, ends, strict=True):
            number = series(model.generation)
            curve = [point for point in model.curve if _finite(point)]
            style = {"color": _SERIES[number], "solid_capstyle": "round"}
            if len(curve) > 1:
                dash = _DASHES[drawn.get(model.generation, 0) % len(_DASHES)]
                drawn[model.generation] = drawn.get(model.generation, 0) + 1
                axes.plot(*zip(*curve, strict=True), lw=2, ls=dash, **style)
            if x < latest * 0.9:
                axes.plot((x, latest * 1.02), (y, y), lw=1, ls=(0, (1, 3)), **style)
            _point(axes, x, y, number)
        _label_ends(axes, models, ends)
        axes.set_xlabel("seconds of training", labelpad=8)
        return _svg(figure, name, _described("Learning curves", models, ends))


def quality_over_time(models: Sequence[ModelResult], size: tuple[int, int], name: str) -> str:
    """Bits per byte against training seconds on a logarithmic axis, as an ``svg`` element."""
    models = [model for model in models if _drawn(model) and _end(model)[0] > 0]
    if not models:
        return ""
    from matplotlib import ticker

    with _figure(size) as (figure, axes):
        ends = [_end(model) for model in models]
        times = [x for x, _ in ends]
        axes.set_xscale("log")
        room = 4.5 if size[0] < 500 else 2.5
        axes.set_xlim(min(times) / room, max(times) * room)
        worst, best = max(y for _, y in ends), min(y for _, y in ends)
        margin = 0.14 * (worst - best) or 0.1 * best or 1.0
        axes.set_ylim(best - margin, worst + margin)
        front = _front(ends)
        if len(front) > 1:
            axes.step(*zip(*front, strict=True), where="post", color=_INK, lw=1, alpha=0.35)
        for model, (x, y) in zip(models, ends, strict=True):
            _point(axes, x, y, series(model.generation))
        decades = math.log10(max(times) / min(times)) + 2 * math.log10(room)
        axes.xaxis.set_major_locator(
            ticker.LogLocator(subs=(1.0,) if decades > 2 else (1.0, 2.0, 5.0))
        )
        axes.xaxis.set_minor_locator(ticker.NullLocator())
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:,g}"))
        _label_points(axes, models, ends, front)
        axes.set_xlabel("seconds of training, logarithmic", labelpad=8)
        return _svg(
            figure, name, _described("Bits per byte against training seconds", models, ends)
        )


def has_front(models: Sequence[ModelResult]) -> bool:
    """Whether a line of the models that no other beats is drawn in :func:`quality_over_time`."""
    ends = [_end(model) for model in models if _drawn(model)]
    return len(_front([end for end in ends if end[0] > 0])) > 1


def _end(model: ModelResult) -> tuple[float, float]:
    return model.training_seconds, model.bits_per_byte


def _drawn(model: ModelResult) -> bool:
    """Whether its bits per byte may lie beside those of others."""
    return model.normalized and _finite(_end(model))


def _finite(point: Sequence[float]) -> bool:
    return all(map(math.isfinite, point))


def _bits_range(models: Sequence[ModelResult]) -> tuple[float, float]:
    """From below the best to above the worst end; the steep beginning of a curve is cut off."""
    ends = [model.curve[-1][1] for model in models]
    curves = [y for model in models for point in model.curve if _finite(point) for y in point[1:]]
    top = max(
        max(ends) + 0.25 * (max(ends) - min(ends)), min(max([*curves, *ends]), 1.4 * min(ends))
    )
    low = min([*ends, *curves])
    margin = 0.08 * (top - low) or 0.1 * top or 1.0
    return low - margin, top + margin


def _front(ends: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats in both seconds and bits."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(ends):
        if not front or y < front[-1][1]:
            front.append((x, y))
    return front


def _point(axes: Any, x: float, y: float, number: int) -> None:
    marker = _MARKERS[number]
    axes.plot(
        [x], [y], marker, ms=8, mfc=_SERIES[number], mec=_PAPER, mew=1.5, clip_on=False, zorder=5
    )


def _label(model: ModelResult) -> str:
    return f"{printable(model.title)} {bits(model.bits_per_byte)}"


def _make_room(axes: Any, size: tuple[int, int], models: Sequence[ModelResult]) -> None:
    """Shrink the plot so that the longest name fits at its right."""
    widest = 0.0
    for model in models:
        text = axes.text(0, 0, printable(model.title), parse_math=False)
        widest = max(widest, text.get_window_extent().width)
        text.remove()
    left, bottom, width, height = axes.get_position().bounds
    # The line to a name is 5.5 % as long as the plot is wide.
    fit = (width - widest / size[0]) / 1.055
    axes.set_position((left, bottom, max(fit, 0.4 * width), height))


def _label_ends(
    axes: Any, models: Sequence[ModelResult], ends: Sequence[tuple[float, float]]
) -> None:
    """Names at the right edge, moved apart where they would overlap, with a line to each."""
    low, high = axes.get_ylim()
    height = axes.get_window_extent().height
    heights = [(y - low) / (high - low) * height for _, y in ends]
    places = _spread(heights, _LINE, height)
    for model, (_, y), place in zip(models, ends, places, strict=True):
        own = (y - low) / (high - low)
        axes.plot(
            (1.0, 1.03, 1.045),
            (own, place / height, place / height),
            transform=axes.transAxes,
            color=_INK,
            lw=0.75,
            alpha=0.5,
            clip_on=False,
        )
        axes.text(
            1.055,
            place / height,
            printable(model.title),
            transform=axes.transAxes,
            va="center_baseline",
            parse_math=False,
        )


def _spread(wanted: Sequence[float], distance: float, height: float) -> list[float]:
    """Places as near as may be to ``wanted``, at least ``distance`` apart, below ``height``."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    groups: list[tuple[list[int], float]] = []
    for i in order:
        group = ([i], wanted[i])
        # Neighbours that would overlap move as one, around the middle of where they belong.
        while groups:
            members, centre = groups[-1]
            gap = (len(members) + len(group[0])) / 2 * distance
            if group[1] - centre >= gap:
                break
            groups.pop()
            joined = members + group[0]
            offsets = [wanted[j] - k * distance for k, j in enumerate(joined)]
            middle = sum(offsets) / len(joined) + (len(joined) - 1) / 2 * distance
            group = (joined, middle)
        half = (len(group[0]) - 1) / 2 * distance
        groups.append((group[0], max(half, min(height - half, group[1]))))
    places = [0.0] * len(wanted)
    for members, centre in groups:
        for k, i in enumerate(members):
            places[i] = centre + (k - (len(members) - 1) / 2) * distance
    return places


def _label_points(
    axes: Any,
    models: Sequence[ModelResult],
    ends: Sequence[tuple[float, float]],
    front: Sequence[tuple[float, float]],
) -> None:
    """Names near the points, each in the first place where it covers nothing.

    None is nearer to another's point, if that can be, and a line leads to one that is not beside
    its own.
    """
    from matplotlib.transforms import Bbox

    points = [axes.transData.transform(end) for end in ends]
    taken = [Bbox.from_bounds(x - 7, y - 7, 14, 14) for x, y in points]
    steps = axes.transData.transform(front)
    for (x0, y0), (x1, y1) in itertools.pairwise(steps):
        taken.append(Bbox.from_extents(x0, y0 - 1, x1, y0 + 1))
        taken.append(Bbox.from_extents(x1 - 1, y1, x1 + 1, y0))
    inside = axes.get_window_extent()
    sides = (
        *((11, dy, "left") for dy in (0, 6, -6)),
        *((-11, dy, "right") for dy in (0, 6, -6)),
        *((dx, 15, "left") for dx in (-4, 6)),
        *((dx, -15, "left") for dx in (-4, 6)),
        *((dx, dy, "right") for dy in (15, -15) for dx in (4, -6)),
        *((14, dy, "left") for dy in (24, -24)),
        *((-14, dy, "right") for dy in (24, -24)),
        *(
            (round(far * math.cos(turn)), round(far * math.sin(turn)), ha)
            for far in (34, 50, 70, 95)
            for turn in (k * math.pi / 8 for k in range(16))
            for ha in ("left", "right")
        ),
    )
    for i, (model, (x, y)) in enumerate(zip(models, points, strict=True)):
        others = [point for k, point in enumerate(points) if k != i]
        text = axes.text(
            0, 0, _label(model), transform=None, va="center_baseline", parse_math=False
        )
        extent = text.get_window_extent()
        choices = []
        for order, (dx, dy, ha) in enumerate(sides):
            left = x + dx - {"left": 0.0, "center": 0.5, "right": 1.0}[ha] * extent.width
            box = Bbox.from_bounds(left, y + dy - _LINE / 2, extent.width, _LINE)
            own = _distance(box, (x, y))
            # Where marks nearly coincide only a line says which one is meant.
            nearer = any(_distance(box, other) <= own for other in others)
            line = _leader(box, (x, y)) if own > _BESIDE or nearer else []
            pieces = [Bbox.from_bounds(u - 1.5, v - 1.5, 3, 3) for u, v in line]
            covered = sum(_overlap(part, other) for part in (box, *pieces) for other in taken)
            outside = box.width * box.height - _overlap(box, inside)
            cost = covered + 4 * outside + (_MISLEADING if nearer else 0.0)
            choices.append((cost, order, box, dx, dy, ha, line, pieces))
        _, _, box, dx, dy, ha, line, pieces = min(choices, key=lambda choice: choice[:2])
        text.set_position((x + dx, y + dy))
        text.set_ha(ha)
        taken += [box, *pieces]
        if line:
            ends_ = (line[0], line[-1])
            axes.plot(*zip(*ends_, strict=True), transform=None, color=_INK, lw=0.75, alpha=0.5)


def _distance(box: Any, point: tuple[float, float]) -> float:
    """From a point to the nearest one of a box."""
    x, y = point
    return math.hypot(max(box.x0 - x, x - box.x1, 0.0), max(box.y0 - y, y - box.y1, 0.0))


def _leader(box: Any, point: tuple[float, float]) -> list[tuple[float, float]]:
    """Places along a line from the edge of a mark to the nearest of a box."""
    x, y = point
    end = min(max(x, box.x0), box.x1), min(max(y, box.y0 + 3), box.y1 - 3)
    length = math.hypot(end[0] - x, end[1] - y)
    begin = _MARK / max(length, _MARK)
    shares = [begin + (1 - begin) * k / 12 for k in range(13)]
    return [(x + (end[0] - x) * share, y + (end[1] - y) * share) for share in shares]


def _overlap(a: Any, b: Any) -> float:
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return float(max(width, 0.0) * max(height, 0.0))


@contextmanager
def _figure(size: tuple[int, int]) -> Iterator[tuple[Any, Any]]:
    """An empty plot whose points are the page's pixels."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(), warnings.catch_warnings():
        # A user's own settings and missing glyphs do not change the page.
        warnings.simplefilter("ignore")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.fonttype": "none",
                "svg.hashsalt": "lamina",
                "figure.dpi": 72,
                "font.size": _FONT,
                "text.color": _INK,
                "axes.edgecolor": _INK,
                "axes.labelcolor": _INK,
                "xtick.color": _INK,
                "ytick.color": _INK,
            }
        )
        width, height = size
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        axes = figure.add_axes(
            (36 / width, 54 / height, (width - 44) / width, (height - 96) / height)
        )
        axes.text(
            0,
            1 - 14 / height,
            "bits per byte, lower is better",
            transform=figure.transFigure,
            va="top",
        )
        axes.patch.set_visible(False)
        figure.patch.set_visible(False)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_linewidth(0.75)
        axes.grid(axis="y", color=_RULE, lw=0.75)
        axes.set_axisbelow(True)
        axes.tick_params(length=0, pad=6)
        axes.tick_params(axis="x", which="major", length=4, width=0.75)
        yield figure, axes


def _described(
    title: str, models: Sequence[ModelResult], ends: Sequence[tuple[float, float]]
) -> str:
    """What somebody who cannot see the plot is told."""
    parts = (
        f"{printable(model.title)} {bits(y)} after {duration(x)} s"
        for model, (x, y) in zip(models, ends, strict=True)
    )
    return f"{title}, bits per byte at the end: {', '.join(parts)}."


def _svg(figure: Any, name: str, title: str) -> str:
    file = io.StringIO()
    empty = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(file, format="svg", metadata=empty)
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.S)
    # Several drawings share one page, so that ids carry the name of their own.
    svg = re.sub(r'\b(id="|xlink:href="#)', rf"\1{name}-", svg).replace("url(#", f"url(#{name}-")
    svg = svg.replace("xlink:href", "href").replace(
        ' xmlns:xlink="http://www.w3.org/1999/xlink"', ""
    )
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(
        r'(<svg[^>]*?) width="[^"]*"',
        rf'\1 aria-labelledby="{name}-title" role="img"',
        svg,
        count=1,
    )
    colours = {_INK: "currentColor", _RULE: "var(--rule)", _PAPER: "var(--paper)"}
    colours |= {colour: f"var(--g{i})" for i, colour in enumerate(_SERIES)}
    for colour, own in colours.items():
        svg = svg.replace(colour, own)
    start = svg.index(">") + 1
    svg = f'{svg[:start]}<title id="{name}-title">{html.escape(title)}</title>{svg[start:]}'
    return re.sub(r"\n\s*\n+", "\n", svg)
