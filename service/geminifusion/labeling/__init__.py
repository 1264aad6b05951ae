"""Label tools: pre-annotations for Label Studio and CVAT, and which frames to label first."""
