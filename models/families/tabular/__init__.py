"""Models of encoded rows: gradient boosting and logistic regression."""
