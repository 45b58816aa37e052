"""One module a package: what the tour runs of it."""
