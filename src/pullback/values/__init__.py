"""What values are: dtypes, shapes, symbols and graphs. Knows nothing of operations or derivatives."""
