"""The inference server: RGB + depth in, segmentation mask out, over HTTP and gRPC; never imports torch."""
