"""A person as an adapter needs it: identities, crops, vision models."""
