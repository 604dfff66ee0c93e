"""A folder for PYTHONPATH: with it, ``import acl`` gives the simulator in every process of a program."""
