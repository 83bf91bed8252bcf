"""What PVE may answer, as one schemathesis check: an answer is within its schema, an error is PVE's error envelope, word for word the same
in body and status line, or one of the bare refusals that come before there is a formatter. A PVE that
dies of bad input answers 500 with a message, so a 500 alone is no crash; what a crash, a broken answer
or a proxy in trouble would say is."""

import re

import schemathesis
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

# A plain `die`, an unknown method, an unreadable body, and what pveproxy says of peers.
SERVER_ERRORS = {500, 501, 506}
# Ours, for what must not happen: `api/*.rs` and `extract.rs` would have to be wrong.
CRASHES = re.compile(
    r"panick|internal error|cannot encode the answer|cannot read the parameters|the answer broke off"
    # What Rust's own errors say where PVE has words, or Perl's, for it: the numbers that `io::Error`
    # adds, serde's complaints, toml's, futures that were given up.
    r"|\(os error -?\d+\)|\bline \d+ column \d+|invalid (type|value|length): |missing field `"
    r"|unknown (variant|field) `|duplicate field `|TOML parse error|deadline has elapsed"
    r"|channel closed|task \d+ (panicked|was cancelled)|invalid digit found in string"
    r"|invalid utf-8 sequence|cannot parse (integer|float)|entity not found"
)
# Before a formatter is known: no envelope, not even a content type.
BARE = re.compile(
    r"No ticket|Authentication failed!|Permission denied - invalid csrf token|bad request"
    r"|method '\w+' not available|Unexpected content for method '\w+'|for data too large"
    r"|upload 'Content-Type '.*' not implemented"
    r"|chunked transfer encoding not supported|the request's body did not arrive"
    # JSON that cannot be read, or is no hash: Perl's own words.
    r"|.* at /usr/share/perl5/PVE/APIServer/AnyEvent\.pm line (934|978)\."
    r"|Bad Request|Permission check failed .*|no such (uri|file).*"
)


@schemathesis.check
def pve_answer(ctx, response, case):
    status, reason = response.status_code, response.message
    kind = response.headers.get("content-type", [""])[0]
    if status >= 400 and not kind:
        assert BARE.fullmatch(reason), f"no envelope around {status} {reason}"
        return
    for check in (status_code_conformance, content_type_conformance, response_schema_conformance):
        check(ctx, response, case)
    if status < 400:
        assert status == 200, f"PVE does not answer {status}"
        return
    assert status < 500 or status in SERVER_ERRORS, f"PVE does not answer {status} {reason}"
    assert kind == "application/json;charset=UTF-8", f"an error as {kind}"
    body = response.json()
    assert set(body) <= {"data", "message", "errors"}, f"strange keys: {sorted(body)}"
    assert body["data"] is None
    message = body["message"]
    assert message.strip(), "an error without a word"
    assert not CRASHES.search(message), f"that is a crash: {message}"
    # A status line holds no control characters; then it has the code's usual words.
    line = message.split("\n")[0]
    if line.isprintable():
        # As Python's HTTP client reads it: bytes as latin-1, without white space around, which there
        # includes U+0085 and U+00A0, the second bytes of "Å" and "à".
        sent = line.encode().decode("latin-1").strip()
        assert reason.strip() == sent, f"{reason!r} is not {sent!r}"
