"""The checklist of everything that the reference documents and the API promise; see `rows.py`."""

import pytest

pytest.register_assert_rewrite("tests.checklist.behaviours", "tests.checklist.forms")
