"""Reasoning Gym."""
