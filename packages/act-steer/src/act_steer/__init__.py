"""Steer a language or diffusion model by transporting its activations."""
