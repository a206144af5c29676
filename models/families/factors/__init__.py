"""Matrix factorisation: ALS and BPR."""
