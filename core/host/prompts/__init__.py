"""Conditionings that the pack makes: a face in the prompt, a pose for the ControlNet."""
