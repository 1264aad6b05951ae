"""`python -m geminifusion`: the command, for an interpreter whose scripts are not on the path."""

from .cli import main

main()
