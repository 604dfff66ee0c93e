"""From trained weights to a model file that a backend can load."""
