"""Face encoders, adapters, attention and scores in plain torch; only `host` imports ComfyUI."""
