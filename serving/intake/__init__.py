"""Event intake: validation as in ``prepare``, acknowledgement when durable, and landing for the next training."""
