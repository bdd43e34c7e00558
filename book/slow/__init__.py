"""Slow forms, which say what is meant: written for one image, one box or one pair at a time."""
