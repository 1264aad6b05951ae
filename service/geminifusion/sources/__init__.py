"""Where `geminifusion predict` takes frames from: files, folders, videos, recordings, cameras.

`base.py` says what a source is, `registry.py` which there are. A source checks what it was given when it is opened, so
that nothing is computed for an input that cannot be used.
"""
