"""What tuning took away besides the task: general knowledge, plain language, and the manners of a safe assistant.

`general.jsonl`, `safety.jsonl` and `text.txt` were written for this project, one by one; nothing is trained on them.
"""
