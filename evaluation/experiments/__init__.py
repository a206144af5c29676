"""Experiments on live shoppers: are the arms as they were meant, and what do they differ in?"""
