"""Likeness scores, gates and reports."""

from .gate import Verdict, best_of, judge, report
from .scores import cosines, percent

__all__ = ["Verdict", "best_of", "cosines", "judge", "percent", "report"]
