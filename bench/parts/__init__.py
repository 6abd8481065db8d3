"""The parts of the measurement; each returns tables."""
