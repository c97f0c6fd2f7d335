"""Utilities: the conformance suite, and the private seams to scikit-learn."""
