"""Measurements: ratios within one run against a floor, never absolute promises. `make bench`."""
