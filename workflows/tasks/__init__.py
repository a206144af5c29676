"""Tasks: their entities, anchors and labels."""
