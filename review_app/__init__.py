"""Who touches it: screens, routes, worker, command line. The web process never imports torch."""
