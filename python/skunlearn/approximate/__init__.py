"""Forgetting without a bound: steps towards the optimum of the rows that are left, for comparison and for ranking."""

from skunlearn.approximate._estimators import (
    FineTuneForget,
    GradientAscentForget,
    InfluenceForget,
    NewtonForget,
    Residuals,
)

__all__ = ["FineTuneForget", "GradientAscentForget", "InfluenceForget", "NewtonForget", "Residuals"]
