"""Rules at request time: which items may be answered, and how those that may are arranged; it needs neither a model nor a server."""
