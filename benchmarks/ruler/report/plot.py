"""The trade as a picture: likeness lost to the right, the prompt kept upwards, a line per curve."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..figures import Score, by_condition
from .trade_off import TradeOff, trade_off

_CLOSE = 1.25  # the close-up reaches so much farther than the cures do
_LEAST = 10.0  # percent of the likeness that it shows at least


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
    for axes in (whole, close):
        for number, (label, names) in enumerate(curves.items()):
            line = "--" if label in rivals else "-"
            _draw(axes, [trades[name] for name in names], number, fmt=f"o{line}", label=label)
        for number, name in enumerate(others, len(curves)):
            _draw(axes, [trades[name]], number, fmt="D", label=name)
        axes.axhline(trades[base].kept, color="grey", linewidth=1, linestyle=":", label="without the person")
        axes.set(xlabel="likeness lost, % of that without a cure", ylabel="share of the prompt that the picture shows")
        axes.grid(alpha=0.3)
    near = [trades[name] for name in {*sum((cures or rivals).values(), []), *others}]
    reach = max(_LEAST, _CLOSE * max(trade.lost for trade in near))
    close.set_xlim(min(trade.lost for trade in near) - 0.2 * reach, reach)
    for number, names in enumerate(curves.values()):
        for name in names[1:]:
            if trades[name].lost < reach:
                point, colour = (trades[name].lost, trades[name].kept), f"C{number}"
                close.annotate(_number(name), point, (4, 5), textcoords="offset points", fontsize=8, color=colour)
    figure.legend(*whole.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=9)
    return figure


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
