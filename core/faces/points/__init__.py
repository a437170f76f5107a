"""Landmarks of a face: finding them, reading them from JSON, posing and drawing them."""
