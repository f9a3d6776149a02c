"""Behaviours by subject; see `tests/checklist/behaviour.py`."""
