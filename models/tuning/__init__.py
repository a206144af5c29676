"""Tuning: a search for better settings that sees the training and the validation split, and no other."""
