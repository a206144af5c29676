"""Rules at request time: which items may be recommended, and how they are arranged; independent of models and servers."""
