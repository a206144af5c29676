"""The DLRM that ranks candidates and scores carts."""
