"""fast random augmentation on tensors, and an honest study of it."""
