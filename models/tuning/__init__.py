"""Tuning: a search for better settings that uses only the training and validation splits."""
