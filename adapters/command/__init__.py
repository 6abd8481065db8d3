"""One adapter: see `adapter.py` or the modules here."""
