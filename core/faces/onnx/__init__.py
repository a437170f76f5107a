"""Detectors, descriptors and attributes from .onnx files: packs, and files of the artist's own."""
