"""Events as they come in: checked as ``prepare`` checks a log, acknowledged when they are durable, and landed for the next training."""
