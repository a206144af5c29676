"""What the training of every model shares: loop, tables, store, export and calibration."""
