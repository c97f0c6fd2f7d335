"""Take names from skunlearn wherever it has them: the one edit that a script of scikit-learn's should need."""

import ast
from importlib import import_module


def with_our_imports(source):
    """Return `source` with its ``from sklearn... import`` lines drawn from skunlearn where that has the name."""
    lines = source.splitlines()
    for node in reversed([node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]):
        if node.module and node.module.split(".")[0] == "sklearn":
            indent = " " * node.col_offset
            lines[node.lineno - 1 : node.end_lineno] = [indent + line for line in _drawn_from_ours(node)]
    return "\n".join(lines) + "\n"


def _drawn_from_ours(node):
    ours = node.module.replace("sklearn", "skunlearn", 1)
    known = _public_names(ours)
    for module, names in (
        (ours, [alias for alias in node.names if alias.name in known]),
        (node.module, [alias for alias in node.names if alias.name not in known]),
    ):
        if names:
            yield ast.unparse(ast.ImportFrom(module=module, names=names, level=0))


def _public_names(module):
    try:
        return set(import_module(module).__all__)
    except ModuleNotFoundError as error:
        if module.startswith(error.name):
            return set()
        raise
