"""Real data that the stations run on; each set has its licence beside it."""
