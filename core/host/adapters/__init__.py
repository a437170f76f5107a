"""Identity adapters on a MODEL."""
