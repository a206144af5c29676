"""What was fitted and trained elsewhere: NVTabular workflows compiled, and models behind them served."""
