"""From places in a picture to crops: transforms, templates, and resampling that agrees with cv2."""
