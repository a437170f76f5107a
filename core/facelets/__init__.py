"""What finds and describes faces in Facelets' drawn portraits."""
