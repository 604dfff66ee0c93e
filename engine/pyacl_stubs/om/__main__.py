"""``python -m engine.pyacl_stubs.om``: make simulated .om files."""

from engine.pyacl_stubs.om_command import main

main()
