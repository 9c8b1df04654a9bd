"""A corpus of gradients written by hand, faults planted in them, and how well checkers tell them apart."""
