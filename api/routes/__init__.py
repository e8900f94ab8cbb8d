"""The routes: each declares its scope, calls `api.service` or `api.views` in a thread, and sends the answer."""
