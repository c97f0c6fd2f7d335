"""Slow twins of the certified solve: rational elimination, rounded by Python's exact division."""

import math
from fractions import Fraction


def exact_solution(matrix, moments):
    """Solve by Gauss's elimination in rational numbers; `matrix` must be regular."""
    d = len(matrix)
    table = [[Fraction(x) for x in row] + [Fraction(m)] for row, m in zip(matrix, moments, strict=True)]
    for k in range(d):
        pivot = next(i for i in range(k, d) if table[i][k] != 0)
        table[k], table[pivot] = table[pivot], table[k]
        table[k] = [x / table[k][k] for x in table[k]]
        for i in range(d):
            if i != k and table[i][k] != 0:
                factor = table[i][k]
                table[i] = [x - factor * y for x, y in zip(table[i], table[k], strict=True)]
    return [row[d] for row in table]


def nearest(number, scale=0):
    """The float64 nearest to number * 2^scale, ties to even."""
    number = Fraction(number) * Fraction(2) ** scale
    try:
        return number.numerator / number.denominator + 0.0
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def is_positive_definite(matrix):
    """Whether Gauss's elimination meets positive pivots only, in rational numbers."""
    table = [[Fraction(x) for x in row] for row in matrix]
    for k in range(len(table)):
        if table[k][k] <= 0:
            return False
        for i in range(k + 1, len(table)):
            factor = table[i][k] / table[k][k]
            table[i] = [x - factor * y for x, y in zip(table[i], table[k], strict=True)]
    return True


def least_norm_solution(columns, moments):
    """The y of least norm with C'C y = moments, C having `columns`; rational numbers throughout."""
    gram = [[sum(a * b for a, b in zip(x, y, strict=True)) for y in columns] for x in columns]
    basis = independent(gram)
    # y = G[:, basis] v is in the range; G y = moments needs only the rows of the basis.
    rows = [[sum(gram[i][k] * gram[k][j] for k in range(len(gram))) for j in basis] for i in basis]
    v = exact_solution(rows, [moments[i] for i in basis])
    return [sum(gram[i][j] * x for j, x in zip(basis, v, strict=True)) for i in range(len(gram))]


def independent(gram):
    """Columns of a semidefinite matrix that span its range: those whose pivot is not zero."""
    table = [[Fraction(x) for x in row] for row in gram]
    basis = []
    for k in range(len(table)):
        if table[k][k] == 0:
            continue
        basis.append(k)
        for i in range(k + 1, len(table)):
            factor = table[i][k] / table[k][k]
            table[i] = [x - factor * y for x, y in zip(table[i], table[k], strict=True)]
    return basis


def eigen_rows(matrix):
    """Householder and implicit QL in Python's floats, one operation after the other: the bits of `eigh_rows`."""
    d = len(matrix)
    a = [list(row) for row in matrix]
    diagonal, beside, reflectors = [0.0] * d, [0.0] * d, []
    for k in range(d - 1):
        diagonal[k] = a[k][k]
        u = a[k][k + 1 :]
        norm = math.sqrt(dot(u, u))
        if len(u) == 1 or norm == 0.0:
            beside[k] = u[0]
            continue
        if u[0] > 0.0:
            norm = -norm
        beside[k] = norm
        height = norm * norm - u[0] * norm
        u[0] -= norm
        reflectors.append((k + 1, u, height))
        product = [0.0] * len(u)
        for i, x in enumerate(u):
            product = [p + x * y for p, y in zip(product, a[k + 1 + i][k + 1 :], strict=True)]
        product = [p / height for p in product]
        half = dot(u, product) / (height + height)
        product = [p + -half * x for p, x in zip(product, u, strict=True)]
        for i, x in enumerate(u):
            row = a[k + 1 + i]
            row[k + 1 :] = [r - (x * p + product[i] * y) for r, p, y in zip(row[k + 1 :], product, u, strict=True)]
    diagonal[d - 1] = a[d - 1][d - 1]
    basis = [[float(i == j) for j in range(d)] for i in range(d)]
    for first, u, height in reversed(reflectors):
        product = [0.0] * len(u)
        for i, x in enumerate(u):
            product = [p + x * y for p, y in zip(product, basis[first + i][first:], strict=True)]
        for i, x in enumerate(u):
            row = basis[first + i]
            row[first:] = [r + -(x / height) * p for r, p in zip(row[first:], product, strict=True)]
    vectors = [list(column) for column in zip(*basis, strict=True)][::-1]
    diagonal.reverse()
    beside[: d - 1] = beside[: d - 1][::-1]
    diagonalise(diagonal, beside, vectors)
    return diagonal, vectors


def dot(x, y):
    """Eight lanes, and the tree that joins them."""
    lanes = [0.0] * 8
    for i, (a, b) in enumerate(zip(x, y, strict=True)):
        lanes[i % 8] += a * b
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))


def diagonalise(diagonal, beside, vectors):
    d = len(diagonal)
    for low in range(d):
        while True:
            m = low
            while m < d - 1 and abs(beside[m]) > 2.0**-53 * (abs(diagonal[m]) + abs(diagonal[m + 1])) + 2.0**-100:
                m += 1
            if m == low:
                break
            sweep(diagonal, beside, vectors, low, m)


def sweep(diagonal, beside, vectors, low, m):
    g = (diagonal[low + 1] - diagonal[low]) / (2.0 * beside[low])
    r = math.sqrt(g * g + 1.0)
    g = diagonal[m] - diagonal[low] + beside[low] / (g + (r if g >= 0.0 else -r))
    s, c, p = 1.0, 1.0, 0.0
    for i in range(m - 1, low - 1, -1):
        f, b = s * beside[i], c * beside[i]
        beside[i + 1] = r = math.sqrt(f * f + g * g)
        if r == 0.0:
            diagonal[i + 1] -= p
            beside[m] = 0.0
            return
        s, c = f / r, g / r
        g = diagonal[i + 1] - p
        r = (diagonal[i] - g) * s + 2.0 * c * b
        p = s * r
        diagonal[i + 1] = g + p
        g = c * r - b
        x, y = vectors[i], vectors[i + 1]
        vectors[i], vectors[i + 1] = (
            [c * v - s * w for v, w in zip(x, y, strict=True)],
            [s * v + c * w for v, w in zip(x, y, strict=True)],
        )
    diagonal[low] -= p
    beside[low] = g
    beside[m] = 0.0
