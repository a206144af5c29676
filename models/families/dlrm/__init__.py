"""The DLRM that orders candidates and judges carts."""
