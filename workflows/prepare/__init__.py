"""The stages that build examples and features from checked events."""
