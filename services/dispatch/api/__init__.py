"""HTTP words of dispatch: routes, and what goes in and out, one file per noun."""
