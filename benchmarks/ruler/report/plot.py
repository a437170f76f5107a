"""The trade as a picture: likeness lost to the right, the prompt kept upwards, a line per curve."""

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from ..figures import Score, by_condition
from .trade_off import TradeOff, trade_off

_CLOSE = 1.25  # the close-up reaches so much farther than the cures do
_LEAST = 10.0  # percent of the likeness that it shows at least
_MARGIN = 0.08  # of what the points span, around them


def plot(
    scores: list[Score], rivals: dict[str, list[str]], cures: dict[str, list[str]], others: list[str], base: str
) -> Figure:
    """Everything on the left, the part where the cures lie on the right. Curves are lists of conditions, the first of
    them the uncured one; the others are loose points. Bars are standard errors over people, those of the likeness lost
    of the difference to the same pictures uncured."""
    groups = by_condition(scores)
    curves = rivals | cures
    ill = next(iter(curves.values()))[0]
    trades = {name: trade_off(group, groups[ill], groups[base]) for name, group in groups.items()}
    figure = Figure(figsize=(15, 7), layout="constrained")
    whole, close = figure.subplots(1, 2)
    for axes, title in ((whole, "everything"), (close, "close-up")):
        for number, (label, names) in enumerate(curves.items()):
            line = "--" if label in rivals else "-"
            _draw(axes, [trades[name] for name in names], number, fmt=f"o{line}", label=label)
        for number, name in enumerate(others, len(curves)):
            _draw(axes, [trades[name]], number, fmt="D", label=name)
        axes.axhline(trades[base].kept, color="grey", linewidth=1, linestyle=":", label="without the person")
        axes.set(
            title=title,
            xlabel="likeness lost, % of that without a cure",
            ylabel="share of the prompt that the picture shows",
        )
        axes.grid(alpha=0.3)
    near = [trades[name] for name in {*sum((cures or rivals).values(), []), *others}]
    reach = max(_LEAST, _CLOSE * max(trade.lost for trade in near))
    close.set_xlim(min(trade.lost for trade in near) - 0.2 * reach, reach)
    drawn = [trades[name] for name in {*sum(curves.values(), []), *others}]
    _around(whole.set_xlim, [trade.lost for trade in drawn])
    heights = [trade.kept for trade in (*drawn, trades[base])]
    _around(whole.set_ylim, heights)
    _around(close.set_ylim, heights)
    figure.legend(*whole.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=9)
    figure.draw_without_rendering()  # gives the panels their places, on which it depends what lies on what
    labels = [("without a cure", trades[ill], "black")]
    labels += [(_number(name), trades[name], f"C{number}")
               for number, names in enumerate(curves.values()) for name in names[1:]]  # fmt: skip
    for axes, some in ((whole, labels[:1]), (close, labels)):
        _label(axes, [one for one in some if axes.get_xlim()[0] <= one[1].lost <= axes.get_xlim()[1]])
    return figure


def _around(set_limits: Callable, values: list[float]):
    """Limits of a panel that its points set: error bars that reach farther are cut off."""
    margin = _MARGIN * max(max(values) - min(values), 0.01)
    set_limits(min(values) - margin, max(values) + margin)


def _label(axes: Axes, labels: list[tuple[str, TradeOff, str]]):
    """Texts beside their points; one that would lie on an earlier one is left out."""
    boxes: list[Bbox] = []
    for text, trade, colour in labels:
        label = axes.annotate(
            text, (trade.lost, trade.kept), (4, 5), textcoords="offset points", fontsize=8, color=colour
        )
        box = label.get_window_extent()
        if any(box.overlaps(other) for other in boxes):
            label.remove()
        else:
            boxes.append(box)


def _draw(axes: Axes, trades: list[TradeOff], number: int, **options):
    axes.errorbar(
        [trade.lost for trade in trades], [trade.kept for trade in trades],
        [trade.kept_error for trade in trades], [trade.lost_error for trade in trades],
        markersize=4, elinewidth=0.8, capsize=2, color=f"C{number}", ecolor=(f"C{number}", 0.4), **options,
    )  # fmt: skip


def _number(name: str) -> str:
    """The weight, start or strength at the end of a condition's name; 1 where it has none."""
    last = name.removesuffix("+control").rsplit("-", 1)[-1]
    return last if last[0].isdigit() else "1"
