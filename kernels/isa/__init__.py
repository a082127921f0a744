"""Instruction sets, and vector operations on an LLVM builder."""
