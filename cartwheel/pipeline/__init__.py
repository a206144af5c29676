"""The stages of a run, what each reads, and which are already done."""
