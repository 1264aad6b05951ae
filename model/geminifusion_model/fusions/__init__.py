"""How the two streams meet inside a block."""
