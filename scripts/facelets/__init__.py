"""Facelets: a world of drawn portraits with exact ground truth, and the training of the models that ship of it."""
