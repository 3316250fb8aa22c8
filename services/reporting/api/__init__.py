"""HTTP words: routes, their parameters and answers. What they mean is said in `flow`."""
