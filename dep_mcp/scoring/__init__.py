"""Scorers: each judges one submission against its target. Sealed side only; pure functions.

A score lies in 0..1. Post-processing of model text (extraction, normalisation) lives in `extract`.
"""

from dep_mcp.scoring.choice import Choice
from dep_mcp.scoring.exact import ExactMatch
from dep_mcp.scoring.extract import answer_tag, first_group, plain_number, short_answer, whole
from dep_mcp.scoring.port import Scorer, Target
from dep_mcp.scoring.verifier import Verifier

__all__ = [
    "Choice",
    "ExactMatch",
    "Scorer",
    "Target",
    "Verifier",
    "answer_tag",
    "first_group",
    "plain_number",
    "short_answer",
    "whole",
]
