"""Curves: the right points, few enough, in the page's colours."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_bert.pretraining.curves import FIRST_RUN, MUTED, Line, draw, short, spread, thin

pytest.importorskip("matplotlib")


def line(n: int = 20, *, label: str = "held out", color: int = FIRST_RUN, style: str = "main") -> Line:  # fmt: skip
    x = np.arange(1, n + 1, dtype=np.float64)
    return Line(x, 2 + 5 / x, label, color, style)


def texts(svg: str) -> list:
    return [node.text for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("text")]


def test_says_what_it_is() -> None:
    """Catches axes without a name, and curves whose last figure cannot be read."""
    svg = draw([line()], title="A & B", y_label="nats")
    assert {"nats", "step", "2.25 held out"} <= set(texts(svg))
    assert ElementTree.fromstring(svg).attrib["aria-label"] == "A & B"


def test_is_valid_and_the_page_s_own() -> None:
    """Catches what does not belong into a page: colours for a white page, a size, a font, names
    that other curves have, too, and references to elsewhere."""
    lines = [line(), line(label="training", color=MUTED, style="faint"), line(label="x", style="dashed")]  # fmt: skip
    svg = draw(lines, title="T", y_label="y")
    root = ElementTree.fromstring(svg)
    assert "width" not in root.attrib and "viewBox" in root.attrib
    styles = ";".join(re.findall(r'style="([^"]*)"', svg))
    assert set(re.findall(r"(?:fill|stroke): ([^;]+)", styles)) <= {"none", *(f"var(--c{i})" for i in (1, 2, 3, 10))}  # fmt: skip
    assert "font-family" not in svg and "<style" not in svg and "<g id" not in svg
    assert set(re.findall(r'"(https?:[^"]*)"', svg)) <= {"http://www.w3.org/1999/xlink", "http://www.w3.org/2000/svg"}  # fmt: skip
    assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)"', svg))


def test_labels_are_text() -> None:
    """Catches labels that are read as formulas, markup, or colours."""
    for label in ("$x_1", "a$b$c", "<b>&", "#00000a", r"\alpha"):
        assert f"2.25 {label}" in texts(draw([line(label=label)], title="t", y_label="y"))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n", [1, 2, 300, 301, 5000])
@pytest.mark.parametrize("style", ["main", "faint", "dashed"])
@pytest.mark.parametrize("flat", [False, True])
def test_any_number_of_points(n: int, style: str, flat: bool) -> None:
    """Catches one point that cannot be seen, axes of no length, and warnings."""
    found = line(n, style=style)
    if flat:
        found = Line(found.x, np.zeros(n), "z", FIRST_RUN, style)
    svg = draw([found], title="t", y_label="y")
    assert ElementTree.fromstring(svg) is not None
    assert len(svg) < 60_000
    if n == 1:
        assert "clipPath" in svg and "use xlink" in svg


@pytest.mark.parametrize("options", [{"percent": True}, {"y_log": True}, {"from_zero": True}])
def test_axes(options: dict) -> None:
    """Catches a kind of axis that cannot be drawn, or that says nothing else."""
    plain = texts(draw([line()], title="t", y_label="y"))
    assert texts(draw([line()], title="t", y_label="y", **options)) != plain


def test_small_figures() -> None:
    """Catches learning rates that all read as 0.0005, or 0."""
    x = np.arange(5.0)
    found = texts(draw([Line(x, x * 1e-4, "", FIRST_RUN)], title="t", y_label="rate"))
    assert "rate (10⁻⁴)" in found and "4" in found


def test_the_same_each_time() -> None:
    """Catches a date or a random name, which would change a report that says the same."""
    assert draw([line()], title="t", y_label="y") == draw([line()], title="t", y_label="y")


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400), st.integers(3, 50))
def test_thin(values: list, most: int) -> None:
    """Catches points that are lost: extremes, the mean, or the last."""
    x, y = np.arange(len(values), dtype=np.float64), np.array(values)
    thin_x, thin_y, least, greatest = thin(x, y, most)
    assert len(thin_x) <= most and (np.diff(thin_x) >= 0).all()
    assert (thin_x[-1], thin_y[-1]) == (x[-1], y[-1])
    assert (least.min(), greatest.max()) == (y.min(), y.max())
    assert (least <= thin_y + 1e-6).all() and (thin_y <= greatest + 1e-6).all()


def test_thin_is_the_mean() -> None:
    """Catches points that are picked out where the mean was meant."""
    x = np.arange(100_000, dtype=np.float64)
    y = np.tile([0.0, 1.0], 50_000)
    thin_x, thin_y, least, greatest = thin(x, y)
    assert len(thin_x) == 300
    assert (abs(thin_y[:-1] - 0.5) < 0.01).all() and set(least[:-1]) == {0.0} and set(greatest[:-1]) == {1.0}  # fmt: skip
    assert thin(np.ones(1000), y[:1000])[0].tolist() == [1.0, 1.0]


@given(st.lists(st.floats(-0.5, 1.5), max_size=9).map(sorted), st.floats(0.01, 0.2))
def test_spread(places: list, gap: float) -> None:
    """Catches labels that lie over one another, in another order, or outside without need."""
    moved = spread(places, gap, 0.0, 1.0)
    assert len(moved) == len(places) and moved == sorted(moved)
    assert all(b - a >= gap - 1e-9 for a, b in zip(moved, moved[1:]))
    if gap * (len(places) - 1) <= 1:
        assert all(-1e-9 <= place <= 1 + 1e-9 for place in moved)
    if all(b - a >= gap for a, b in zip(places, places[1:])) and all(0 <= p <= 1 for p in places):
        assert moved == pytest.approx(places)


@pytest.mark.parametrize(
    "value, expected",
    [(0, "0"), (9999, "9,999"), (12_500, "12.5k"), (3e6, "3M"), (2.5e9, "2.5G"), (0.25, "0.25")],
)
def test_short(value: float, expected: str) -> None:
    """Catches figures that take more room than there is."""
    assert short(value) == expected


def test_without_matplotlib() -> None:
    """Catches a traceback where the extra is not installed; and an import before it is needed."""
    code = """
import sys
import spacy_bert.pretraining.report
assert "matplotlib" not in sys.modules
sys.modules["matplotlib"] = None
from spacy_bert.pretraining.curves import draw
try:
    draw([], title="t", y_label="y")
except ImportError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install matplotlib" in result.stdout, result.stderr
