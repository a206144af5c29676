"""From the files of a shop to checked events in one canonical form."""
