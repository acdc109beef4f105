"""What the steps of a run gave back, in words: `write: ok (exit code 0)`, then its output."""

from nexus_control.canonical_json import canonical_json
from nexus_control.lifecycle import effect_words
from nexus_control.render.text import View


def step_words(step: View) -> str:
    """How a step went, on one line and not yet escaped: `write: error (exit code 3, what was done is unknown): …`."""
    said = [] if step["exit_code"] is None else [f"exit code {step['exit_code']}"]
    said += ["simulated"] if step.get("simulated") else []
    said += [] if step["status"] == "ok" else [effect_words(step["effect"])]
    said += ["its output was cut"] if step.get("truncated") else []
    error = f": {step['error']['code']}: {step['error']['message']}" if step["error"] else ""
    note = f"; {step['note']}" if step.get("note") else ""
    how = f" ({', '.join(said)})" if said else ""
    return f"{step['step_id']}: {step['status']}{how}{error}{note}"


def output_text(step: View) -> str:
    """The output of a step, and what a program wrote to standard error; empty where there is none. Not escaped."""
    output = step["output"]
    texts = [output if isinstance(output, str) else "" if output is None else canonical_json(output)]
    if step.get("stderr"):
        texts.append(f"standard error: {step['stderr']}")
    return "\n".join(each.rstrip("\n") for each in texts if each)
