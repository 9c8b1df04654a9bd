"""What each op is in JAX: the op's name to an expression in jax.numpy, jax.lax and jax.scipy, by family of ops."""
