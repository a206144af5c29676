"""Experiments on served shops: who sees which arm, what is shown at random, and the log of it."""
