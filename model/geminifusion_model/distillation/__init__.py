"""Start weights for an encoder from a frozen image classifier: knowledge distillation on unlabeled photographs.

Hinton, Vinyals and Dean, arXiv:1503.02531, for the classes; Romero et al. (FitNets), arXiv:1412.6550, for the features.
"""
