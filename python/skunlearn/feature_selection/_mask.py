"""The map of a selector: a mask, and nothing else."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.feature_selection import SelectorMixin

from skunlearn.transforms import ForgettingTransformerMixin, TransformMap

__all__ = ["ForgettingSelectorMixin", "SelectionState"]


@dataclass(frozen=True, slots=True, eq=False)
class SelectionState(TransformMap):
    """The published state of one version.

    Parameters
    ----------
    mask : ndarray of shape (n_features,), bool
        Which features are kept.
    """

    mask: np.ndarray

    @property
    def n_features_in(self) -> int:
        """Number of columns."""
        return len(self.mask)

    def apply(self, X: Any) -> Any:
        """Return the features that are kept."""
        return X[:, np.flatnonzero(self.mask)]

    def parts(self) -> list[bytes | np.ndarray]:
        """Return the mask."""
        return [self.mask.view(np.uint8)]


class ForgettingSelectorMixin(SelectorMixin, ForgettingTransformerMixin):
    """Mixin for transformers that publish a `SelectionState`: `get_support`, `transform` and its inverse."""

    def _get_support_mask(self) -> np.ndarray:
        state: SelectionState = self._published()
        return state.mask.copy()
