"""Image encoders that adapters see a face with."""
