"""What knows LLVM: code generation, the mathematics library, loading, entry from Python."""
