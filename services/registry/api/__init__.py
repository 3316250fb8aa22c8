"""HTTP words only: routes and the shapes of requests and answers, one file per noun."""
