"""What a stage of a run takes as the log grows."""
