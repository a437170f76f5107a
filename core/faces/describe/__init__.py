"""Whose face it is, as numbers: one file per face descriptor; `descriptors` finds the one that a file holds."""
