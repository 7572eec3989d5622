"""Curves as SVG that stands in a page: drawn by matplotlib, coloured by the page.

matplotlib knows one colour for each line; a page that is light or dark needs two. So lines are drawn
in colours that mean nothing, `#0000NN`, and these are made names of the page's own: `var(--cNN)`.
"""

import math
import re
from dataclasses import dataclass
from typing import Any, Callable, List, Optional, Sequence, Tuple

import numpy as np

# What the page has to give a colour: text and axes, grid, and the runs.
INK, GRID, MUTED = 1, 2, 3  # not 0: black, which matplotlib leaves out
FIRST_RUN = 10

UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
MOST_POINTS = 300
SIZE = (5.2, 3.2)  # inches; on a page, about what a phone is wide
PLOT = (0.135, 0.165, 0.605, 0.79)  # left, bottom, width, height, as shares of the figure
LETTERS = 10.5  # points


@dataclass(frozen=True)
class Line:
    """A curve.

    x (np.ndarray): Steps or hours, shape (n,), in order.
    y (np.ndarray): Figures, shape (n,).
    label (Optional[str]): What to write at its end, beside its last figure; None: neither.
    color (int): Which of the page's colours.
    style (str): "main"; "faint": what is noisy and only backs another; "dashed": what to compare with.
    """

    x: np.ndarray
    y: np.ndarray
    label: Optional[str]
    color: int
    style: str = "main"


def draw(
    lines: Sequence[Line],
    *,
    title: str,
    y_label: str,
    x_label: str = "step",
    percent: bool = False,
    y_log: bool = False,
    from_zero: bool = False,
) -> str:
    """Draw curves into one pair of axes.

    lines (Sequence[Line]): The curves, those in front last; none may be empty.
    title (str): What it is, for those who cannot see it.
    y_label, x_label (str): What the axes are, with the unit.
    percent (bool): Whether figures are shares, to be written as per cent.
    y_log (bool): Whether the axis of the figures is logarithmic.
    from_zero (bool): Whether that axis begins at zero.
    RETURNS (str): An <svg> element.
    RAISES (ImportError): matplotlib is not installed.
    """
    _check_matplotlib()
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    with rc_context({"svg.fonttype": "none", "font.size": LETTERS, "svg.hashsalt": title}):
        figure = Figure(figsize=SIZE)
        axes = figure.add_axes(PLOT)
        for line in lines:
            _plot(axes, line)
        for name, spine in axes.spines.items():
            spine.set_visible(name in ("left", "bottom"))
            spine.set_color(_color(MUTED))
        axes.grid(axis="y", color=_color(GRID), linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=_color(MUTED), labelcolor=_color(INK), length=3)
        if y_log:
            axes.set_yscale("log")
            axes.minorticks_off()
        elif from_zero:
            axes.set_ylim(bottom=0.0)
        else:
            axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        low, high = axes.get_ylim()
        scale, exponent = _exponent(high) if not (percent or y_log) else (1.0, "")
        write = _figures(percent, scale, 0.0 if y_log else high)
        axes.yaxis.set_major_formatter(FuncFormatter(write))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=x_label == "step"))
        axes.set_xlim(*_x_limits(lines))
        axes.xaxis.set_major_formatter(FuncFormatter(_same_unit(axes.get_xlim()[1])))
        axes.set_ylim(low, high)
        axes.set_xlabel(x_label, color=_color(INK), loc="right", labelpad=2)
        axes.set_ylabel(y_label + exponent, color=_color(INK), loc="top", labelpad=4)
        _label_ends(axes, [line for line in lines if line.label is not None], write)
        return _to_svg(FigureCanvasSVG(figure), title)


def _check_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ImportError(
            "The curves of a report are drawn by matplotlib, which is not installed. Run: "
            "pip install matplotlib"
        ) from None


def thin(x: np.ndarray, y: np.ndarray, most: int = MOST_POINTS) -> Tuple[np.ndarray, ...]:
    """Make a curve of a million points one that a page can hold: the mean of each of `most` parts of
    the axis, and what the least and the greatest in it are.

    x (np.ndarray), y (np.ndarray): The curve, shape (n,).
    most (int): How many points to keep at most.
    RETURNS (Tuple[np.ndarray, ...]): Its x, y, least y and greatest y, each of shape (m,); the last
        point is the last of the curve.
    """
    if len(x) <= most:
        return x, y, y, y
    width = (x[-1] - x[0]) / (most - 1) or 1.0
    parts = np.minimum((x - x[0]) / width, most - 2).astype(np.int64)
    first = np.flatnonzero(np.diff(parts, prepend=-1))  # of each part
    counts = np.diff(first, append=len(x))
    columns = [
        np.add.reduceat(x, first) / counts,
        np.add.reduceat(y, first) / counts,
        np.minimum.reduceat(y, first),
        np.maximum.reduceat(y, first),
    ]
    ends = (x[-1], y[-1], columns[2][-1], columns[3][-1])
    return tuple(np.append(column, end) for column, end in zip(columns, ends))


def short(value: float) -> str:
    """value (float): A number.
    RETURNS (str): It in few letters: 12.5k, 3M, 0.25."""
    for size, unit in UNITS:
        if abs(value) >= (10 * size if unit == "k" else size):
            return f"{value / size:.4g}{unit}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _plot(axes: Any, line: Line) -> None:
    x, y, least, greatest = thin(line.x, line.y)
    color = _color(line.color)
    widths = {"main": 1.8, "faint": 1.0, "dashed": 1.2}
    axes.plot(
        x,
        y,
        color=color,
        linewidth=widths[line.style],
        linestyle=(0, (4, 3)) if line.style == "dashed" else "solid",
        alpha=0.7 if line.style == "faint" else 1.0,
        solid_joinstyle="round",
        # A single figure is no line; a few are better seen as what they are.
        marker="o" if len(x) == 1 or (len(x) <= 30 and line.style == "main") else None,
        markersize=3.5,
    )
    if len(x) < len(line.x) and line.style != "dashed":
        axes.fill_between(x, least, greatest, color=color, alpha=0.15, linewidth=0)


def _same_unit(high: float) -> Callable[..., str]:
    """How to write the figures at an axis that ends at `high`: 5k beside 10k, not 5,000."""
    for size, unit in UNITS:
        if high >= 4 * size:
            return lambda value, _=None: f"{value / size:.4g}{unit if value else ''}"
    return lambda value, _=None: f"{value:.4g}"


def _x_limits(lines: Sequence[Line]) -> Tuple[float, float]:
    low = min(float(line.x[0]) for line in lines)
    high = max(float(line.x[-1]) for line in lines)
    room = 0.02 * (high - low) or max(1.0, abs(high)) * 0.5
    return low - room, high + room


def _figures(percent: bool, scale: float, high: float) -> Callable[..., str]:
    by_unit = _same_unit(high / scale)

    def write(value: float, _: object = None) -> str:
        if percent:
            return f"{100 * value:.3g}%"
        return by_unit(value / scale)

    return write


def _exponent(high: float) -> Tuple[float, str]:
    """What to divide small figures by, and how to say so beside the axis."""
    if not 0 < high < 0.01:
        return 1.0, ""
    power = math.floor(math.log10(high))
    superscript = str(-power).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return 10.0**power, f" (10⁻{superscript})"


def _label_ends(axes: Any, lines: Sequence[Line], write: Callable[[float], str]) -> None:
    """Name curves, and their last figures, to the right of where they end; none over another."""
    to_share = axes.transData + axes.transAxes.inverted()
    ends = [(float(to_share.transform((line.x[-1], line.y[-1]))[1]), line) for line in lines]
    ends.sort(key=lambda pair: pair[0])
    gap = 1.35 * LETTERS / 72 / (SIZE[1] * PLOT[3])  # height of a line of text, as a share
    places = spread([place for place, _ in ends], gap, 0.0, 1.0)
    for place, (_, line) in zip(places, ends):
        text = f"{write_end(line.y[-1], write)} {line.label}".strip()
        axes.text(
            1.025,
            place,
            text,
            transform=axes.transAxes,
            color=_color(line.color),
            va="center",
            parse_math=False,  # a dollar sign is one
        )


def write_end(value: float, write: Callable[[float], str]) -> str:
    """value (float): The last figure of a curve.
    write (Callable): How figures are written at the axis.
    RETURNS (str): It, in three digits or so."""
    shown = write(value)
    if shown.endswith("%"):
        return f"{100 * value:.1f}%"
    digits, unit = re.fullmatch(r"(.*?)([kMG]?)", shown).groups()  # type: ignore[union-attr]
    return f"{float(digits):.3g}{unit}" if "." in digits else shown


def spread(places: Sequence[float], gap: float, low: float, high: float) -> List[float]:
    """Move places apart, as little as need be.

    places (Sequence[float]): From low to high.
    gap (float): How far apart neighbours have to be.
    low (float), high (float): Where they may be; if there is no room for all, they go beyond `high`.
    RETURNS (List[float]): The places, in the same order.
    """
    moved = [min(max(place, low), high) for place in places]
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + gap)
    over = max(0.0, moved[-1] - high) if moved else 0.0
    if over:  # push down from the top, as far as the bottom allows
        limit = high
        for i in range(len(moved) - 1, -1, -1):
            moved[i] = min(moved[i], limit)
            limit = moved[i] - gap
        if moved[0] < low:
            moved = [low + i * gap for i in range(len(moved))]
    return moved


def _color(index: int) -> str:
    return f"#0000{index:02x}"


def _name_colors(style: "re.Match[str]") -> str:
    return re.sub(
        r"#0000([0-9a-f]{2})", lambda match: f"var(--c{int(match[1], 16)})", style.group()
    )


def _to_svg(canvas: Any, title: str) -> str:
    import io
    from html import escape

    buffer = io.StringIO()
    # No date, so that a report of the same figures is the same file.
    canvas.print_svg(buffer, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'style="[^"]*"', _name_colors, svg)
    # The background is the page's, and so are the size and the font.
    svg = re.sub(r'<g id="patch_[12]">.*?</g>', "", svg, count=2, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"| height="[^"]*"', r"\1", svg, count=2)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r" font-family: [^;\"]*;", "", svg)
    # Names of parts would be there once for each of the curves of a page.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"\n\s*", "\n", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1).strip()


__all__ = ["FIRST_RUN", "GRID", "INK", "MUTED", "Line", "draw", "short", "spread", "thin"]
