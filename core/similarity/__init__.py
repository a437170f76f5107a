"""Likeness scores, gates, reports and contact sheets."""

from .gate import Verdict, best_of, judge, percentages, report
from .scores import cosines, percent
from .sheet import MOST, contact_sheet, score_plot

__all__ = [
    "MOST",
    "Verdict",
    "best_of",
    "contact_sheet",
    "cosines",
    "judge",
    "percent",
    "percentages",
    "report",
    "score_plot",
]
