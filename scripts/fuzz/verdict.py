"""What a server's answer to a prompt is worth: done, refused in a sentence, or a failure of the pack's."""

from dataclasses import dataclass

DONE, THEIRS, OURS, FOREIGN, FAILED = "done", "refused by ComfyUI", "one sentence", "another node failed", "FAILED"
PACK = "custom_nodes/likeness/"
_LONGEST = 3000  # characters; some sentences list all files that are there
_REFUSALS = ("ValueError", "WeightsError", "NoFaceError")  # what the pack raises, by the end of its name


@dataclass(frozen=True)
class Verdict:
    """One of the words above, and what was said."""

    word: str
    text: str = ""


def of_refusal(answer: dict) -> Verdict:
    """The verdict on a prompt that was not accepted: ComfyUI's own reasons, or sentences of `validate_inputs`."""
    ours = []
    for node in (answer.get("node_errors") or {}).values():
        for error in node["errors"]:
            trace = "".join(error.get("extra_info", {}).get("traceback", ()))
            if PACK in trace:
                return Verdict(FAILED, f"{error['extra_info'].get('exception_type')}: {error['details']}\n{trace}")
            if error["type"] == "custom_validation_failed":
                ours.append(error["details"].partition(" - ")[2])
    wrong = [why for text in ours if text and (why := _is_no_sentence(text))]
    if wrong:
        return Verdict(FAILED, f"{wrong[0]}: {ours}")
    return Verdict(OURS if any(ours) else THEIRS, (ours or [answer.get("error", {}).get("message", "")])[0])


def of_history(entry: dict) -> Verdict:
    """The verdict on a prompt that ran, from its entry in the history."""
    for event, data in entry["status"]["messages"]:
        if event == "execution_error":
            return _of_error(data)
    return Verdict(DONE) if entry["status"]["status_str"] == "success" else Verdict(FAILED, str(entry["status"])[:500])


def _of_error(data):
    frames = data["traceback"]
    name, text = data["exception_type"], data["exception_message"].rstrip("\n")
    said = f"{data['node_type']}: {name}: {text}"
    if not any(PACK in frame for frame in frames):
        return Verdict(FOREIGN, said)
    raised_here = PACK in frames[-1]
    if raised_here and name.rpartition(".")[2] in _REFUSALS and not (wrong := _is_no_sentence(text)):
        return Verdict(OURS, text)
    if name.rpartition(".")[2] in _REFUSALS and raised_here:
        said = f"{wrong}: {said}"
    return Verdict(FAILED, said[:1500] + "\n" + "".join(frames[-3:]))


def _is_no_sentence(text: str) -> str | None:
    """Why a text is nothing that an artist should read, None where it is."""
    if not text.endswith("."):
        return "no full stop"
    if len(text) > _LONGEST:
        return f"{len(text)} characters"
    if not text.isprintable():
        return "unprintable"
    if "Traceback" in text or "Error:" in text or "<class" in text or "object at 0x" in text:
        return "an exception in it"
    return None
