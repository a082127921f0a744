"""Matrix products: weights, packing, microkernels."""
