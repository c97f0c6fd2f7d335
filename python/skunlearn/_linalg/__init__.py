"""Compiled kernels of dense linear algebra and counting."""
