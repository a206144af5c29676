"""SASRec, the self-attentive sequential recommender."""
