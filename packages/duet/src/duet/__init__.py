"""Representations with a readable, steerable pose axis."""
