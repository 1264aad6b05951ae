"""Two-stream encoders: a pyramid of four feature maps per stream, fused in every block."""
