"""What a server says about a workflow that it refused or that failed, as sentences."""

from .graph import named
from .problems import sentence, shown


def refusal(graph: dict, answer: dict) -> str:
    """A sentence, on a line of its own, for each complaint in an answer to /prompt; "" when there is none."""
    lines = []
    for node_id, node in _items(answer.get("node_errors")):
        for error in _dicts(_dict(node).get("errors")):
            lines.append(_complaint(graph, node_id, error))
    error = answer.get("error")
    if not lines and error:
        parts = (_dict(error).get("message"), _dict(error).get("details")) if isinstance(error, dict) else (error,)
        lines.append(sentence(shown(": ".join(str(part) for part in parts if part))))
    return "\n".join(dict.fromkeys(lines))


def _complaint(graph, node_id, error):
    """One complaint about a node. A node's own check is reported for each of its inputs alike, so it names none."""
    kind, message, details = (str(error.get(key) or "") for key in ("type", "message", "details"))
    key = str(_dict(error.get("extra_info")).get("input_name") or "")
    where = named(graph, node_id)
    if kind == "custom_validation_failed" and details.startswith(f"{key} - "):
        return sentence(shown(f"{where}: {details.removeprefix(f'{key} - ')}"))
    if kind == "required_input_missing":
        key = key or details
    if details.startswith((f"{key}: ", f"{key}, ")):
        details = details[len(key) + 2 :]
    said = ": ".join(text for text in (message[:1].lower() + message[1:], details) if text and text != key)
    return sentence(shown(f"{where}{f', input {key}' if key else ''}: {said}"))


def failure(graph: dict, entry: dict) -> str | None:
    """Why a finished prompt failed, from its history's entry; None when it was completed."""
    status = _dict(entry.get("status"))
    if status.get("completed") is True:
        return None
    for data in _events(status, "execution_error"):
        node = named(graph, str(data.get("node_id")))
        return sentence(shown(f"{node}: {str(data.get('exception_message', '')).strip()}"))
    for data in _events(status, "execution_interrupted"):
        return f"Stopped in {named(graph, str(data.get('node_id')))} by somebody at the server."
    return "The server did not complete it and does not say why; its log does."


def was_interrupted(entry: dict) -> bool:
    """Whether somebody stopped it, which says nothing about the graph."""
    return any(True for _ in _events(_dict(entry.get("status")), "execution_interrupted"))


def _events(status, name):
    messages = status.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, list) and len(message) == 2 and message[0] == name:
            yield _dict(message[1])


def _dict(value):
    return value if isinstance(value, dict) else {}


def _dicts(value):
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _items(value):
    return _dict(value).items()
