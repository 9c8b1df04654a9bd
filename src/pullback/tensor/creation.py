"""New tensors: from data, from constants, from random numbers. PyTorch's names and defaults."""
