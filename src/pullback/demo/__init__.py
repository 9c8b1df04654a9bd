"""The demo: gradients by hand, by differences and by pullback on real data, models fitted, pictures drawn.

    python -m pullback.demo [--out out] [--only 1,3] [--quick]

Written as users write: it imports the package root.
"""
