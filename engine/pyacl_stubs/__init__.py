"""A simulator of pyACL: modules with the vendor's names, codes and order of arguments, chips with published rates.

    from engine.pyacl_stubs import Settings, configure, install
    configure(Settings(profile="resnext101_32x8d-310", strictness="strict"))
    install()                      # from here on ``import acl`` gives the simulator
    import acl

Programs run unchanged by ``python -m engine.pyacl_stubs script.py``. `reports` tells what strict mode found.
"""

from __future__ import annotations

import sys

from engine.pyacl_stubs import absence
from engine.pyacl_stubs.process import PROCESS
from engine.pyacl_stubs.profile import Profile, ProfileError, load_profile, profile_names
from engine.pyacl_stubs.report import Report
from engine.pyacl_stubs.settings import Settings

__all__ = [
    "Profile",
    "ProfileError",
    "Report",
    "Settings",
    "configure",
    "install",
    "load_profile",
    "profile_names",
    "reports",
    "reset",
]


def configure(settings: Settings) -> None:
    """Choose what the next ``acl.init`` simulates; without it the environment does.

    Raises ProfileError for an unknown profile, RuntimeError after init.
    """
    PROCESS.configure(settings)
    absence.take_away(settings.absent)


def install() -> None:
    """Make ``import acl`` give the simulator in this process."""
    from engine.pyacl_stubs import acl, mdl, missing, rt, util

    sys.modules.update({"acl": acl, "acl.mdl": mdl, "acl.rt": rt, "acl.util": util})
    sys.modules.update({f"acl.{name}": getattr(acl, name) for name in missing.MODULES})


def reports() -> list[Report]:
    """What strict mode has found so far."""
    return PROCESS.reports.all()


def reset() -> None:
    """Forget all state, as if the process were fresh. For tests: real pyACL can be initialised only once."""
    PROCESS.reset()
    absence.give_back()
