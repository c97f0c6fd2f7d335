"""``python -m skunlearn``: the demo."""

import sys

from skunlearn.demo import main

sys.exit(main())
