"""How kernels are compiled, loaded and replayed, and the memory they use."""
