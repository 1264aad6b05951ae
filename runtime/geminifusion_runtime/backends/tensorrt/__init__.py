"""Running a prebuilt TensorRT engine."""
