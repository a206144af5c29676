"""Ensembles: one file each, and a registry that export, server, parity and the local repository iterate over."""
