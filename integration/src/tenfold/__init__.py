"""The suite that ties the ten packages together, and the tour."""
