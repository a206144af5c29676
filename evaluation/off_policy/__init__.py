"""What would have come of another choice, estimated from a log of choices that were partly random."""
