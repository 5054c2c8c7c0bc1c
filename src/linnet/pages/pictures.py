"""Charts as PNG or SVG by matplotlib: style, file and errors in one place."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet.errors import MissingExtra, OptionError, OutputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#444444",
)  # safe for color blindness
STYLES = ("-", "--", ":", "-.")
ENDINGS = (".png", ".svg")
_DOTS = 150  # per inch
_LOOKS = {"svg.fonttype": "none", "svg.hashsalt": "linnet"}  # text stays text, and pictures are reproducible


def check_picture(path: Path) -> Path:
    """The path, if a picture with its suffix can be drawn here.

    Raises:
        OptionError: it does not end with `.png` or `.svg`. MissingExtra: matplotlib is not installed.
    """
    if path.suffix.lower() not in ENDINGS:
        raise OptionError(f"{path}: pictures are PNG or SVG; give a file name that ends with {' or '.join(ENDINGS)}")
    try:
        import matplotlib as mpl  # noqa: F401
    except ImportError:
        raise MissingExtra("a picture", extra="plot") from None
    return path


def new_figure(width: float, height: float, title: str) -> Figure:
    """An empty figure of this size in inches with its title at the top left; a `$` in the title is literal."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout: Any = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08, wspace=0.02, hspace=0.04)
    figure = Figure(figsize=(width, height), layout=layout)
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", parse_math=False)
    return figure


def plain_axes(axes: Axes, title: str) -> None:
    """The style of a panel: title at the left, a faint grid, no frame at the top and the right."""
    axes.set_title(title, loc="left", fontsize=10, color="#333333", parse_math=False)
    axes.grid(visible=True, color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9, colors="#444444", length=3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#999999")


def name_lines(owner: Figure | Axes, lines: Any, names: Any, **options: Any) -> None:
    """A legend without a border, with names shown literally."""
    legend = owner.legend(list(lines), ["."] * len(names), edgecolor="none", framealpha=0.8, **options)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(name)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a picture in the format of its suffix. Raises as `check_picture`, and `OutputError` if it cannot be
    written."""
    check_picture(path)
    from matplotlib import rc_context

    kind = path.suffix.lower()[1:]
    with rc_context(_LOOKS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a name in another script: shown as boxes
        try:
            figure.savefig(path, format=kind, dpi=_DOTS, metadata={"Date": None} if kind == "svg" else {})
        except OSError as error:
            raise OutputError(f"{path}: cannot write: {error.strerror or error}") from error
