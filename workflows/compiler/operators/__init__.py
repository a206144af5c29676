"""Implementations of NVTabular's operators, one file each; ``table`` lists them."""
