"""Recipes, the training loop, and export (merge, GGUF, quantise)."""
