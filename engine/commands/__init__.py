"""The commands, one file each: `engine NAME` is `command` in `engine/commands/NAME.py` (dashes are underscores)."""
