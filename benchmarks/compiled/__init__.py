"""Compiled speed against JAX and PyTorch, and the distance of both to what the machine can do."""
