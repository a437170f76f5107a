"""Finding faces, aligning them and turning them into vectors: torch in, torch out, batch first."""
