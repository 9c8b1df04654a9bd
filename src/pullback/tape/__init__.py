"""Recording and reverse mode: handles, nodes, the backward walk, gradient modes and anomaly mode."""
