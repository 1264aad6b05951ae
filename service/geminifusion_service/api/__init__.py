"""The protocols spoken: ours and the Open Inference Protocol."""
