"""A request between its transport and its response: admission, pipeline, telemetry, streams."""
