"""The one process that callers reach: it checks, limits and passes on what Triton answers, over gRPC and over HTTP."""
