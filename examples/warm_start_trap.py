"""A warm refit that forgets nothing: what scikit-learn's LogisticRegression returns when a row is left out.

With ``warm_start=True`` lbfgs starts from the coefficients of all rows. One row of many moves the gradient by less than
the default ``tol``, so it stops before its first step: the "refit" has the bits of the model that knew the row. See
docs/warm_start_trap.md.
"""

import copy

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import scale

from skunlearn.linear_model import LogisticRegression as Forgetting

N_DELETIONS = 50


def tables():
    """Yield names, rows and labels."""
    X, y = load_breast_cancer(return_X_y=True)
    yield "breast_cancer, standardised", scale(X), y
    yield "make_classification(20000, 20)", *make_classification(20_000, 20, random_state=0)
    X, y = load_digits(return_X_y=True)
    yield "digits", X / 16, y


def same_bits(one, other):
    """Return whether two models have the same coefficients and intercepts."""
    return one.coef_.tobytes() == other.coef_.tobytes() and one.intercept_.tobytes() == other.intercept_.tobytes()


def main():
    """Leave out each of the first rows, alone, and count refits that changed no bit."""
    for name, X, y in tables():
        n_warm = n_forgetting = 0
        everything, model = Forgetting().fit(X, y), Forgetting().fit(X, y)
        before = LogisticRegression(warm_start=True).fit(X, y)
        for row in range(N_DELETIONS):
            warm = copy.deepcopy(before)
            keep = np.arange(len(X)) != row
            n_warm += same_bits(warm.fit(X[keep], y[keep]), before)
            n_forgetting += same_bits(model.partial_forget([row]), everything)
            model.partial_fit(X[[row]], y[[row]], sample_ids=[row])
        exact = LogisticRegression(solver="newton-cholesky", tol=1e-12).fit(X, y)
        away = np.abs(LogisticRegression().fit(X, y).coef_ - exact.coef_).max()
        print(
            f"{name}: of {N_DELETIONS} deletions {n_warm} warm refits and {n_forgetting} of ours kept all bits; "
            f"the default fit is {away:.1e} from the optimum"
        )


if __name__ == "__main__":
    main()
