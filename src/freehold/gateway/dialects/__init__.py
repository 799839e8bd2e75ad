"""One file a dialect: a request of it as a Chat Completions request, and the chat's answer in its words again."""
