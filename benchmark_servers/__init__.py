"""Bundled benchmarks: one folder each, built into one image each. Their code never runs on the host."""
