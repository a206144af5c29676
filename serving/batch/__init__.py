"""Answers for every user of a run at once, from its repository in this process."""
