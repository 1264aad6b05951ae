"""The protocols served: our own and the Open Inference Protocol."""
