"""How kernels are compiled and loaded, the programs that they make, and the memory they use."""
