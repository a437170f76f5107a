"""Published architectures in plain torch, to check other implementations against. Test code only: the pack has none."""
