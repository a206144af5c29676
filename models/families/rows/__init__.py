"""Model families for encoded rows with labels, one per file."""
