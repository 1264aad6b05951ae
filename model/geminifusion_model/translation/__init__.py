"""Image-to-image translation: one or two aligned images of a view in, a third of the same view out."""
