"""Sharded ensembles: forgetting around any estimator, by training again the shards that lost a row."""

from skunlearn.sharded._ensemble import ShardEnsembleClassifier, ShardEnsembleRegressor
from skunlearn.sharded._self_test import SelfTest, check_exactness
from skunlearn.sharded._sisa import SISAClassifier, SISARegressor

__all__ = [
    "SISAClassifier",
    "SISARegressor",
    "SelfTest",
    "ShardEnsembleClassifier",
    "ShardEnsembleRegressor",
    "check_exactness",
]
