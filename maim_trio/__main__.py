"""``python -m maim_trio``."""

from __future__ import annotations

import sys

from maim_trio.cli import main

sys.exit(main())
