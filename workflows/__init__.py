"""Shop events in, checked events, point-in-time examples and NVTabular features out."""
