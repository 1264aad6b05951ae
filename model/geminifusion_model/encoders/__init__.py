"""Encoders: a pyramid of four feature maps per stream; two streams are fused in every block."""
