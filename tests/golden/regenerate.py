"""Write the digests anew: ``python tests/golden/regenerate.py``. Each change needs a line in the changelog."""

import json
import sys
from pathlib import Path

from cases import golden_models

from skunlearn import state_digest

PATH = Path(__file__).with_name("digests.json")

if __name__ == "__main__":
    old = json.loads(PATH.read_text()) if PATH.exists() else {}
    new = {name: state_digest(model).hex() for name, model in golden_models()}
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            sys.stdout.write(f"{name}:\n  {old.get(name)}\n  {new.get(name)}\n")
    if old != new:
        sys.stdout.write("Digests changed: say so in CHANGELOG.md, under Guarantees.\n")
    PATH.write_text(json.dumps(new, indent=2, sort_keys=True) + "\n")
