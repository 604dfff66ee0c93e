"""`engine preprocess`: images to `.bin` tensors or to one packed file, on all cores, never half-written."""
