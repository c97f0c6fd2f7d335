"""Preprocessing that forgets exactly, and changes rarely."""

from skunlearn.preprocessing._standard_scaler import StandardScaler

__all__ = ["StandardScaler"]
