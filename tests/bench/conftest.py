"""The harness is no package: its scripts find each other beside themselves, and so do these tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
