"""Image translation: an image of one domain from aligned images of others."""
