"""Published suites of bias measurement, one a module: what their files hold and how their figures are reckoned."""
