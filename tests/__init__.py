"""The tests of Linnet: one folder for each of its rooms, and `support` with what they share."""
