"""Raw features, each strictly from before its anchor."""
