"""Measurements against the faulty provider, each beside its floor: `python -m bench --help`."""
