"""Which files are images."""

#: What ImageNet folders hold besides images (label files, notes, archives' leftovers) does not end in one of these.
IMAGE_SUFFIXES = frozenset({".jpeg", ".jpg", ".jpe", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm"})
