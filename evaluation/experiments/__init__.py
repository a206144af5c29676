"""Experiments on live shoppers: sample-ratio checks and differences between arms."""
