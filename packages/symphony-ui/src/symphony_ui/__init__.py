"""Interactive pages composed from tables."""
