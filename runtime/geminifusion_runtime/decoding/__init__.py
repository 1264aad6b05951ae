"""Encoded images to arrays: headers, decoders, depth units, sensor health."""
