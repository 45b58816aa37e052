"""Self-supervised objectives from the entropy-reconstruction bound."""
