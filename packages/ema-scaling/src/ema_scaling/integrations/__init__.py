"""Hooks into training frameworks; each needs the extra of its name."""
