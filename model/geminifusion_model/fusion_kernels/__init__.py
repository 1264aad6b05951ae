"""The pixel-wise fusion as a Triton kernel, forward and backward, and the choice between it and torch's own code.

A GPU uses the kernel where it was measured to be faster than what `torch.compile` makes of the formula (`choice.py`).
A CPU always runs the formula.
"""
