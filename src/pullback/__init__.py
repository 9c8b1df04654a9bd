"""pullback: gradients of Python numerical code."""
