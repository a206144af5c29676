"""``cartwheel run --continue``: a run that goes on from the one whose version is served."""
