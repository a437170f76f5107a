"""One kind of model behind the door: transformers of FLUX's build, and how an identity gets into their blocks."""
