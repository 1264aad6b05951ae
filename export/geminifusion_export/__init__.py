"""From a GeminiFusion checkpoint to an artifact that can be served without torch."""
