"""The doctor: finds what is wrong with a data set before training does."""
