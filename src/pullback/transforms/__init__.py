"""Derivatives and batches of functions: forward mode, reverse mode, vectorisation, custom rules, GradientTape."""
