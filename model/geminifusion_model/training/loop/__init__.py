"""The training loop: what is built before the first step, the steps, and the state they leave."""
