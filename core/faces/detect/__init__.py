"""Where faces are in a picture: detectors, and the search around them."""
