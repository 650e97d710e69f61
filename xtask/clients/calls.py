"""What somebody writes who has the client: every kind of call, and what came of it. `python3 calls.py URL`."""

import http.server
import math
import sys
import threading
from decimal import Decimal
from typing import Any, Callable, Dict, List, Tuple, Type, Union

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]

import shop
from shop import Code, Fault, Http, Invoke, batch, steps, transaction

url = sys.argv[1]


def client(**options: Any) -> Any:
    return boto3.client(
        "lambda",
        endpoint_url=url,
        region_name="eu-central-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        **options,
    )


def fails(code: Code, status: int, call: Callable[[], object]) -> Fault:
    try:
        call()
    except Fault as fault:
        assert (fault.code, fault.status) == (code, status), (fault.code, fault.status, str(fault))
        return fault
    raise AssertionError(f"{code} was expected")


def raises(kind: Type[Exception], call: Callable[[], object]) -> None:
    try:
        call()
    except kind:
        return
    raise AssertionError(f"{kind} was expected")


web = Http(url)
direct = Invoke(client(config=Config(retries={"total_max_attempts": 1})), "shop")
raises(ValueError, lambda: Invoke(client(), "shop"))
digits = Decimal("123456789012345678901234567890.123456789012345678901234567890")
vias: List[Tuple[str, Union[Http, Invoke]]] = [("http", web), ("invoke", direct)]
shop.forget(direct)
for kind, via in vias:
    users: List[shop.ActiveUsersRow] = shop.active_users(via, limit=2)
    assert [(user["id"], user["name"]) for user in users] == [(1, "Ada"), (2, "Grace")]
    assert shop.active_users(via, active=False) == []

    doc = {"big": 2**63, "exact": Decimal("1.10000000000000000000000000001"), "text": '"\\\n😀', "list": [None, True]}
    exact = shop.exact(
        via,
        wide=2**63 - 1,
        digits=digits,
        ratio=-math.inf,
        doc=doc,
        raw=b"\x00\xff\x80",
        wides=[-(2**63), 1, None],
        state="closed",
        level=5,
        marks=["a", "b"],
    )
    assert exact == {
        "wide": 2**63 - 1,
        "digits": digits,
        "ratio": -math.inf,
        "doc": doc,
        "raw": b"\x00\xff\x80",
        "wides": [-(2**63), 1, None],
        "state": "closed",
        "level": 5,
        "marks": ["a", "b"],
        "no name": None,
    }, exact
    defaults = shop.exact(via, wide=1, digits="0.10")
    assert str(defaults["digits"]) == "0.10" and defaults["doc"] == {"a": [1]} and defaults["raw"] == b"\x00\xff"
    assert shop.exact(via, wide=1, digits=1, level=None, wides=[])["level"] is None
    assert shop.exact(via, wide=1, digits=Decimal("1E+30"))["digits"] == Decimal(10**30)

    every = shop.every_column(via)[0]
    assert (every["d"], every["g"], every["s"]) == (2**63 - 1, Decimal("1.50"), b"\x00\xff")
    assert math.isnan(every["e"]) and every["aa"] == [1, None, 3] and type(every["f"]) is float
    assert shop.class_(via, from_="a b+c&d=ü/?") == {"from": "a b+c&d=ü/?", "class": "x"}

    missing = fails("not_found", 404, lambda: shop.user(via, id=99))
    assert str(missing) == "No row matches." and not missing.retryable and missing.request_id
    fails("bad_parameter", 400, lambda: shop.active_users(via, limit=501))
    assert shop.rename_user(via, id=2, name="Grace") == {"rowsAffected": 1}
    email = f"py-{kind}@example.com"
    id = shop.add(via, name="Lin", email=email)["id"]
    fails("constraint", 409, lambda: shop.add(via, name="Lin", email=email))
    assert str(fails("rejected", 422, lambda: shop.refused(via))) == "not today"

    # Once per key. A call without one has one of its own.
    key = f"key-{email}"
    paid = shop.pay(via, name="Pay", email=f"pay-{email}", idempotency_key=key)
    assert shop.pay(via, name="Pay", email=f"pay-{email}", idempotency_key=key) == paid
    reused = lambda: shop.pay(via, name="Pay", email=email, idempotency_key=key)
    fails("idempotency_key_reused", 422, reused)
    fails("constraint", 409, lambda: shop.pay(via, name="Pay", email=f"pay-{email}"))
    order = f"order-{email}"
    assert shop.pay_for(via, order=order, email=order) == shop.pay_for(via, order=order, email=order)
    twice = [steps.pay(name="a", email=f"a-{email}"), steps.pay(name="b", email=f"b-{email}")]
    listed = batch(via, twice, idempotency_key=f"list-{email}")
    assert batch(via, twice, idempotency_key=f"list-{email}") == listed

    # Page by page: by hand, and all of them.
    first = shop.by_name(via, page_size=1)
    second = shop.by_name(via, page_size=1, page=first["next"])
    ids = [row["id"] for row in shop.by_name_rows(via)]
    assert ids[:2] == [first["rows"][0]["id"], second["rows"][0]["id"]]
    assert len(ids) > 3 and len(set(ids)) == len(ids), "several pages, each row once"
    assert list(shop.by_name_rows(via, from_id=999999)) == []
    fails("bad_parameter", 400, lambda: shop.by_name(via, page="x"))

    # Several at once, each with the type of its own result.
    added, user = transaction(via, (steps.add(name="Mo", email=f"mo-{email}"), steps.found(id=id)))
    assert added["id"] > id and user["email"] == email
    changed = batch(via, [steps.rename_user(id=id, name="Lin"), steps.rename_user(id=999, name="x")])
    assert [each["rowsAffected"] for each in changed] == [1, 0]
    both = (steps.rename_user(id=id, name="x"), steps.found(id=999))
    assert fails("not_found", 404, lambda: transaction(via, both)).step == 1
    assert shop.user(via, id=id)["name"] == "Lin"
assert shop.privately(direct)[0]["id"] == 1
assert shop.with_a_key(web, key="k-1", times=3) == {"key": "k-1", "times": 3}

# A server that is busy, then is not; a gateway that says something of its own; nobody at all.
replies: List[Tuple[int, str, Dict[str, str]]] = []
asked = 0
keys: List[object] = []


class StandIn(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        global asked
        asked += 1
        keys.append(self.headers.get("idempotency-key"))
        self.rfile.read(int(self.headers.get("content-length") or 0))
        status, body, headers = replies.pop(0) if replies else (200, '{"id": 7}', {})
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
threading.Thread(target=server.serve_forever, daemon=True).start()
stand_in = Http(f"http://127.0.0.1:{server.server_address[1]}/prod/")
busy = '{"error": {"code": "database_busy", "message": "m", "retryable": true, "requestId": "r"}}'


def counted(expected: int, given: List[Tuple[int, str]], call: Callable[[], object]) -> None:
    global asked
    asked = 0
    replies.extend((status, body, {}) for status, body in given)
    call()
    assert asked == expected, asked


def read() -> object:
    return shop.user(stand_in, id=1)


def write() -> object:
    return shop.add(stand_in, name="a", email="a")


counted(3, [(503, busy), (502, "Bad Gateway")], read)
counted(3, [(503, busy)] * 3, lambda: fails("database_busy", 503, read))
counted(1, [(503, busy)], lambda: fails("database_busy", 503, lambda: shop.user(stand_in, id=1, attempts=1)))
counted(1, [(503, busy)], lambda: fails("database_busy", 503, write))
counted(1, [(403, '{"message": "Forbidden"}')], lambda: fails("no_reply", 403, read))
counted(1, [(409, '{"error": {"code": "newer_than_us"}}')], lambda: fails("other", 409, read))
counted(1, [(200, "{")], lambda: fails("no_reply", 200, read))
keys.clear()
counted(3, [(503, busy), (504, "Gateway Timeout")], lambda: shop.pay(stand_in, name="a", email="a"))
assert len(set(keys)) == 1 and len(str(keys[0])) == 36, keys
counted(2, [(503, busy)], lambda: shop.pay_for(stand_in, order="o", email="a"))
counted(1, [(503, busy)], lambda: fails("database_busy", 503, lambda: shop.pay_for(stand_in, email="a")))
replies.append((504, "Gateway Timeout", {}))
lost = fails("no_reply", 504, write)
assert not lost.retryable and "not known" in str(lost)
replies.append((302, "", {"location": url}))
fails("no_reply", 302, read)
replies.append((200, '[{"id": "9223372036854775807", "name": "a", "email": "b"}]', {}))
assert shop.active_users(stand_in)[0]["id"] == 2**63 - 1
server.shutdown()
server.server_close()
fails("no_reply", 0, lambda: shop.user(stand_in, id=1, attempts=2))
