"""The doctor: checks that find errors of a data set before training does."""
