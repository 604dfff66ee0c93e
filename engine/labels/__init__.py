"""Which class each sample has: label files of the kinds that people have, and class folders."""
