"""Compositions that artists make, each against what it has to equal; `benchmarks/compositions.py` runs them.

`cases.py` holds the cases and judges them, `bench.py` the model and the features that go through each composition,
`sampling.py` ways to sample, `packs.py` the packs of others. The compositions themselves are in `families`.
"""
