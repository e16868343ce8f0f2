"""Theme and server options (config.toml), installed as flagback.theme so that a wheel carries them."""
