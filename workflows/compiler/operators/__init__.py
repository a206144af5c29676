"""What each NVTabular operator means outside NVTabular: one small file an operator, and ``table`` that lists them all."""
