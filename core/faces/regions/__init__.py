"""Parts of a face as masks: the face parser, hulls and boxes."""
