"""Passes: named rewrites of a graph, each giving a new one that computes the same."""

from pullback.compile.passes.pipeline import PIPELINE, simplify
from pullback.compile.passes.rewrite import Pass

__all__ = ["PIPELINE", "Pass", "simplify"]
