"""The screens: one module a page, each with a `show(installation, account)`; app.py lists who sees which."""
