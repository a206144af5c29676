"""Raw features, computed strictly from events before the anchor."""
