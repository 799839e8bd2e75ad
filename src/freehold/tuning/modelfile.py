"""Ollama's Modelfile: the weights, the chat template in Go's words, the prompt that was trained with.

Ollama applies the template once a round, with `.System` in the first one (its docs/template.mdx and modelfile.mdx).
It is derived from the base's own template by rendering marked messages, so both write the same text.
"""

from freehold.errors import ModelFileError
from freehold.records import Message
from freehold.render import ChatTemplate, Prompt

_WRITTEN_BY_OLLAMA = ("<bos>", "<s>", "<|begin_of_text|>")  # what opens a text, not a turn
_SYSTEM, _USER, _ANSWER, _AGAIN = "<<1>>", "<<2>>", "<<3>>", "<<4>>"


def modelfile(weights: str, template: ChatTemplate, prompt: Prompt, context: int) -> str:
    """A merged model's Modelfile; `context` in tokens. Raises `ModelFileError` for a template without rounds."""
    lines = [
        f"FROM ./{weights}",
        f"TEMPLATE {_quoted(go_template(template))}",
        f"SYSTEM {_quoted(prompt.system)}",
    ]
    for shot in prompt.shots:
        lines += [f"MESSAGE user {_quoted(shot.input)}", f"MESSAGE assistant {_quoted(shot.answer)}"]
    lines += [f'PARAMETER stop "{template.eos_token}"', "PARAMETER temperature 0", f"PARAMETER num_ctx {context}"]
    return "\n".join([*lines, ""])


def go_template(template: ChatTemplate) -> str:
    """One round in Go's template language: with `.System` the first round, without it a later one."""
    asked = [Message(role="system", content=_SYSTEM), Message(role="user", content=_USER)]
    first = template.text(asked)
    later = template.text([*asked, Message(role="assistant", content=_ANSWER), Message(role="user", content=_AGAIN)])
    try:
        opening, rest = first.split(_SYSTEM)
        before_user, before_answer = rest.split(_USER)
        next_round = later.split(_ANSWER)[1].split(_AGAIN)[0]
    except (ValueError, IndexError):
        raise ModelFileError(
            "the chat template leaves out a system or user message; Ollama cannot express it"
        ) from None
    if template.bos_token in _WRITTEN_BY_OLLAMA:
        opening = opening.removeprefix(template.bos_token)
    head = f"{{{{ if .System }}}}{opening}{{{{ .System }}}}{before_user}{{{{ else }}}}{next_round}{{{{ end }}}}"
    return f"{head}{{{{ .Prompt }}}}{before_answer}{{{{ .Response }}}}"


def _quoted(text: str) -> str:
    if '"""' in text:
        raise ModelFileError('the prompt holds """, which a Modelfile cannot; write it otherwise and tune again')
    return f'"""{text}"""'
