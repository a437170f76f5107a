"""What a caption says, read back from it."""

import numpy as np
from facelets.prompts import said
from facelets.world import LOOKS, caption, sample_look


def test_full_captions_say_everything_that_shows():
    rng = np.random.default_rng(1)
    for _ in range(500):
        look = sample_look(rng)
        named = said(caption(look, rng, 1.0, absent=1.0))
        shown = {name: getattr(look, name) for name in LOOKS if look.says(name)}
        assert {"style": "flat", **named} == shown if look.style == "flat" else named == shown


def test_part_of_it_is_said_right_and_bare_captions_say_nothing():
    rng = np.random.default_rng(2)
    for _ in range(500):
        look = sample_look(rng)
        assert all(getattr(look, name) == value for name, value in said(caption(look, rng, 0.5)).items())
        assert said(caption(look, rng, 0.0)) == {}
