"""What each task asks, when, of whom, and what counts as true."""
