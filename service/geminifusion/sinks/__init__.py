"""Where `geminifusion predict` puts results: files of a frame, files of all frames.

`base.py` says what a sink is, `registry.py` which there are.
"""
