"""``import acl`` of a process that found this folder on its path: the simulator takes this module's place."""

from engine.pyacl_stubs import install

install()
