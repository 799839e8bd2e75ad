"""The web pages: server-rendered, no build step."""
