"""Bundled adapters: one folder each, and the cards of models."""
