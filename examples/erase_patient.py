"""Erase all stays of a patient from every step of a mixed-type pipeline, with a plan before and a receipt after.

Patients of 130 hospitals are data subjects with up to 40 stays each. The plan says step by step what a deletion would
do; the receipt says what it did, without ids or values; the commitment in it can be opened by who has its nonce. A
pipeline fitted without the patient stands beside it; a diagnosis that nobody else had is looked for among the columns,
and the patient's number in the pickle.
"""

import json
import pickle
import warnings
from time import perf_counter

import numpy as np
from _tables import size, table

from skunlearn import can_forget, forget, reference_fit, state_digest
from skunlearn.compose import make_column_transformer
from skunlearn.exceptions import CategoryVanishedWarning
from skunlearn.impute import SimpleImputer
from skunlearn.linear_model import LogisticRegression
from skunlearn.pipeline import make_pipeline
from skunlearn.preprocessing import OneHotEncoder, StandardScaler

# A category whose last row leaves goes with it, as it should.
warnings.simplefilter("ignore", CategoryVanishedWarning)

TEXT = ["race", "gender", "age", "diag_1", "medical_specialty", "insulin", "A1Cresult", "change", "diabetesMed"]
NUMBERS = ["time_in_hospital", "num_lab_procedures", "num_medications", "number_inpatient", "number_diagnoses"]


def chain():
    """Return a classifier of stays, not fitted."""
    numeric = make_pipeline(SimpleImputer(strategy="median", random_state=0), StandardScaler(random_state=0))
    text = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="missing"), OneHotEncoder(handle_unknown="ignore")
    )
    return make_pipeline(make_column_transformer((numeric, NUMBERS), (text, TEXT)), LogisticRegression(C=0.1))


def whom_to_erase(X, patients):
    """Return the patient with most stays among those who alone have a diagnosis, and the diagnosis."""
    bearers = {}
    for code, patient in zip(X["diag_1"], patients.tolist(), strict=True):
        bearers.setdefault(code, set()).add(patient)
    alone = {next(iter(who)): code for code, who in bearers.items() if len(who) == 1 and isinstance(code, str)}
    ids, n_stays = np.unique(patients, return_counts=True)
    _, patient = max(
        (n, patient) for patient, n in zip(ids.tolist(), n_stays.tolist(), strict=True) if patient in alone
    )
    return patient, alone[patient]


def main():
    """Erase a patient and print plan, receipt and comparison."""
    X, y, patients = table("diabetes130", size(20_000))
    X = X[NUMBERS + TEXT].astype(dict.fromkeys(NUMBERS, float))
    X = X.where(X.notna(), np.nan)
    patients = patients.astype(np.int64)
    stays = np.arange(len(y))
    model = chain().fit(X, y, sample_ids=stays, subject_ids=patients)
    patient, diagnosis = whom_to_erase(X, patients)
    trace, category = patient.to_bytes(8, "little"), f"diag_1_{diagnosis}"
    was_there, names_before = trace in pickle.dumps(model), model[0].get_feature_names_out()

    print(can_forget(model))
    begin = perf_counter()
    receipt = forget(model, subject_ids=[patient])
    model.flush()
    seconds = perf_counter() - begin
    kept = patients != patient
    begin = perf_counter()
    without = chain().fit(X[kept], y[kept], sample_ids=stays[kept], subject_ids=patients[kept])
    refit_seconds = perf_counter() - begin
    same = np.array_equal(without.predict_proba(X), model.predict_proba(X))
    is_refit = state_digest(model) == state_digest(reference_fit(model))
    names_after = model[0].get_feature_names_out()
    n_named = [sum(name.endswith(category) for name in names) for names in (names_before, names_after)]
    is_there = trace in pickle.dumps(model)

    print(json.dumps({k: v for k, v in receipt.to_dict().items() if k not in {"steps", "library_versions"}}, indent=1))
    print(
        f"{receipt.rows_removed} stays of one patient of {len(np.unique(patients)):,} erased in {1e3 * seconds:.1f} ms;"
    )
    print(
        f"  a pipeline fitted without them took {1e3 * refit_seconds:.0f} ms. Its predictions are the same bits: {same}"
    )
    print(f"  digest of a refit with the same key: {'equal' if is_refit else 'other'}")
    print(f"  columns for a diagnosis that only this patient had: {n_named[0]} before, {n_named[1]} after")
    print(f"  the patient's number is in the pickle: {was_there} before, {is_there} after")
    print(f"  the receipt commits to the state: {receipt.matches(model)}")
    return {
        "n_stays": receipt.rows_removed,
        "is_fit_without": same,
        "is_refit": is_refit,
        "columns": n_named,
        "was_there": was_there,
        "is_there": is_there,
        "matches": receipt.matches(model),
    }


if __name__ == "__main__":
    main()
