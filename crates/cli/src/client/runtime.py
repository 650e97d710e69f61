class Fault(Exception):
    """A call that failed.

    `code` says what went wrong, `status` is the HTTP status of the reply (0 where there was none), `retryable` whether the
    same call, made again later, may succeed without harm. `request_id` is what the function's log line is found by, and
    `step` which step of a transaction or a batch failed, from 0.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        status: int = 0,
        retryable: bool = False,
        request_id: Optional[str] = None,
        step: Optional[int] = None,
    ) -> None:
        super().__init__(message)
        self.code: Code = code
        self.status = status
        self.retryable = retryable
        self.request_id = request_id
        self.step = step


class _Unset:
    """A parameter that is not given, so that it has its default."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = _Unset()


class _Answer(NamedTuple):
    status: int
    body: str
    after: float = 0.0


class _Sent(NamedTuple):
    method: str
    path: str
    headers: Dict[str, str]
    body: Optional[str] = None


class _Request(NamedTuple):
    """One call, of which each way takes its form."""

    event: Callable[[], str]
    http: Callable[[], _Sent]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would make a GET of a POST, and hand an authorization to somebody else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class Http:
    """Calls the function over HTTP.

    `url` is what stands before the query's name, with stage and base path. `headers` are sent with each call, such as an
    authorization; a function is asked for each. `timeout` is in seconds. `context` is for a certificate of one's own.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Union[Mapping[str, str], Callable[[], Mapping[str, str]], None] = None,
        timeout: float = 30.0,
        context: Optional[ssl.SSLContext] = None,
    ) -> None:
        self._base = url.rstrip("/")
        self._headers = headers
        self._timeout = timeout
        self._opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=context))

    def _ask(self, request: _Request) -> _Answer:
        own = self._headers() if callable(self._headers) else self._headers
        method, path, headers, body = request.http()
        asked = urllib.request.Request(
            self._base + path,
            data=None if body is None else body.encode(),
            headers={**(own or {}), **headers},
            method=method,
        )
        try:
            with self._opener.open(asked, timeout=self._timeout) as response:
                return _Answer(response.status, response.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return _Answer(error.code, error.read().decode(errors="replace"), _seconds(error.headers.get("retry-after")))


class Invoke:
    """Calls the function by its name, by a client of boto3.

    The client must not try again by itself, since it would do so for writes as well; this one does where no harm comes
    of it: `boto3.client("lambda", config=Config(retries={"total_max_attempts": 1}))`.
    """

    def __init__(self, client: Any, function_name: str) -> None:
        retries = client.meta.config.retries or {}
        if retries.get("total_max_attempts") != 1 and retries.get("max_attempts") != 0:
            raise ValueError(
                "this client tries again by itself, writes as well: make it with "
                'config=Config(retries={"total_max_attempts": 1})'
            )
        self._client = client
        self._function_name = function_name

    def _ask(self, request: _Request) -> _Answer:
        invoked = self._client.invoke(FunctionName=self._function_name, Payload=request.event().encode())
        text: str = invoked["Payload"].read().decode()
        # Not a reply: the function crashed or ran out of time.
        if "FunctionError" in invoked:
            return _Answer(502, text)
        reply = json.loads(text)
        return _Answer(int(reply["statusCode"]), reply["body"], _seconds((reply.get("headers") or {}).get("retry-after")))


def _seconds(header: Optional[str]) -> float:
    return float(header) if header is not None and header.isdigit() else 0.0


class _Query(NamedTuple):
    """What is known of a query; whatever has no kind goes as it is."""

    name: str
    gives: Literal["rows", "row", "changes", "page"]
    reads: bool
    methods: Tuple[str, ...]
    key: Optional[Tuple[str, str]]
    params: Mapping[str, str]
    headers: Mapping[str, str]
    columns: Mapping[str, str]


class Step(Generic[_R]):
    """A query with its parameters, for `transaction` and `batch`."""

    def __init__(self, query: _Query, params: Mapping[str, Any]) -> None:
        self._query = query
        self._params = {
            name: _given(query.params[name], value) for name, value in params.items() if not isinstance(value, _Unset)
        }


def _run(via: Union[Http, Invoke], step: Step[_R], attempts: int, idempotency_key: Optional[str] = None) -> _R:
    query = step._query
    place, key_name = query.key or ("", "")
    key = (idempotency_key or str(uuid.uuid4())) if place == "header" else None
    known = place == "param" and step._params.get(key_name) is not None
    body: Dict[str, Any] = {}
    headers: Dict[str, str] = {}
    for name, value in step._params.items():
        header = query.headers.get(name)
        if header is None:
            body[name] = value
        else:
            headers[header] = _text(query.params[name], value)
    event_key = {} if key is None else {"idempotencyKey": key}
    if key is not None:
        headers[key_name] = key

    def event() -> str:
        return _written({"query": query.name, "params": body, **event_key, "onError": "reply"})

    def http() -> _Sent:
        path = f"/{query.name}"
        search = _query_string(query, body) if "GET" in query.methods else None
        if search is not None and (len(search) < 6000 or "POST" not in query.methods):
            return _Sent("GET", path + search, headers)
        if "POST" not in query.methods:
            raise _Misuse(f"{query.name} is called by GET, which has no null and no empty list")
        return _Sent("POST", path, {**headers, "content-type": "application/json"}, _written(body))

    told = _asked(via, _Request(event, http), query.reads or key is not None or known, attempts)
    return cast(_R, _result(query, told))


def _several(
    via: Union[Http, Invoke], listed: Dict[str, Any], steps: Sequence[Step[Any]], attempts: int, key: Optional[str]
) -> List[Any]:
    # One for all of it, if a step asks for one.
    keyed = any(step._query.key is not None for step in steps)
    event = {**listed, "idempotencyKey": key or str(uuid.uuid4())} if keyed else listed
    request = _Request(
        lambda: _written({**event, "onError": "reply"}),
        lambda: _Sent("POST", "", {"content-type": "application/json"}, _written(event)),
    )
    told = _asked(via, request, keyed or all(step._query.reads for step in steps), attempts)
    return [_result(step._query, each) for step, each in zip(steps, told)]


@overload
def transaction(via: Several, steps: Tuple[Step[_R], Step[_S]], *, attempts: int = 3, idempotency_key: Optional[str] = None) -> Tuple[_R, _S]: ...
@overload
def transaction(
    via: Several, steps: Tuple[Step[_R], Step[_S], Step[_T]], *, attempts: int = 3, idempotency_key: Optional[str] = None
) -> Tuple[_R, _S, _T]: ...
@overload
def transaction(
    via: Several, steps: Tuple[Step[_R], Step[_S], Step[_T], Step[_U]], *, attempts: int = 3, idempotency_key: Optional[str] = None
) -> Tuple[_R, _S, _T, _U]: ...
@overload
def transaction(via: Several, steps: Sequence[Step[_R]], *, attempts: int = 3, idempotency_key: Optional[str] = None) -> Sequence[_R]: ...


def transaction(via: Several, steps: Sequence[Step[Any]], *, attempts: int = 3, idempotency_key: Optional[str] = None) -> Any:
    """Runs the steps in one transaction: all of them, or none. Gives the result of each."""
    listed = [{"query": step._query.name, "params": step._params} for step in steps]
    return tuple(_several(via, {"transaction": listed}, steps, attempts, idempotency_key))


def batch(via: Several, steps: Sequence[Step[_R]], *, attempts: int = 3, idempotency_key: Optional[str] = None) -> List[_R]:
    """Runs one query with many sets of parameters in one transaction: all of them, or none. Gives the result of each."""
    if not steps:
        return []
    name = steps[0]._query.name
    if any(step._query.name != name for step in steps):
        raise _Misuse("a batch runs one query; a transaction several")
    event = {"batch": {"query": name, "params": [step._params for step in steps]}}
    return _several(via, event, steps, attempts, idempotency_key)


class _Misuse(TypeError):
    """A call that cannot be made, whatever the function says."""


def _asked(via: Union[Http, Invoke], request: _Request, safe: bool, attempts: int) -> Any:
    attempt = 1
    while True:
        after = 0.0
        cause: Optional[Exception] = None
        try:
            answer = via._ask(request)
            after = answer.after
            told = _reply(answer, safe)
            if not isinstance(told, Fault):
                return told
        except _Misuse:
            raise
        except Exception as error:
            status = getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            told, cause = _no_reply(status, safe), error
        if not safe or not told.retryable or attempt >= attempts:
            raise told from cause
        time.sleep(max(after, random.uniform(0.0, min(2.0, 0.1 * 2.0**attempt))))
        attempt += 1


def _reply(answer: _Answer, safe: bool) -> Any:
    """What the function told, or the fault that it told of."""
    try:
        told = json.loads(answer.body, parse_float=Decimal)
    except ValueError:
        return _no_reply(answer.status, safe)
    if 200 <= answer.status < 300:
        return told
    error = told.get("error") if isinstance(told, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("code"), str):
        return _no_reply(answer.status, safe)
    code = error["code"]
    return Fault(
        cast(Code, code if code in CODES else "other"),
        str(error.get("message")),
        status=answer.status,
        retryable=error.get("retryable") is True,
        request_id=error.get("requestId"),
        step=error.get("step"),
    )


def _no_reply(status: int, safe: bool) -> Fault:
    doubt = "" if safe else " Whether the change was made is not known: look before you send it again."
    what = "There was no reply." if status == 0 else f"What replied, with status {status}, was not the function."
    passes = status == 0 or status == 429 or status >= 500
    return Fault("no_reply", what + doubt, status=status, retryable=safe and passes)


def _result(query: _Query, told: Any) -> Any:
    for row in told["rows"] if query.gives == "page" else told if query.gives == "rows" else [told]:
        for name, kind in query.columns.items():
            if name in row:
                row[name] = _taken(kind, row[name])
    return told


def _taken(kind: str, value: Any) -> Any:
    """A value as it stands in a reply, to one of the row's type. What is none is left as it is."""
    if isinstance(value, list):
        return [_taken(kind, element) for element in value]
    try:
        if kind == "int" and isinstance(value, str):
            return int(value)
        if kind == "decimal" and isinstance(value, str):
            return Decimal(value)
        if kind == "float" and (isinstance(value, (Decimal, str)) or type(value) is int):
            return float(value)
        if kind == "bytes" and isinstance(value, str):
            return base64.b64decode(value)
    except (ValueError, ArithmeticError):
        pass
    return value


def _given(kind: str, value: Any) -> Any:
    """A parameter, to a value as the event has it."""
    if kind == "json" or value is None:
        return value
    if isinstance(value, (list, tuple)):
        return [_given(kind, element) for element in value]
    if kind == "decimal" and isinstance(value, Decimal):
        return str(value) if not value.is_finite() else format(value, "f")
    if kind == "float" and isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if kind == "bytes":
        return base64.b64encode(value).decode()
    return value


def _query_string(query: _Query, params: Mapping[str, Any]) -> Optional[str]:
    """The parameters as a GET has them; `None` for what it cannot have."""
    pairs: List[str] = []
    for name, value in params.items():
        kind = query.params[name]
        values = value if isinstance(value, list) and kind != "json" else [value]
        if not values or (kind != "json" and None in values):
            return None
        pairs.extend(f"{name}={urllib.parse.quote(_text(kind, one), safe='')}" for one in values)
    return "?" + "&".join(pairs) if pairs else ""


def _text(kind: str, value: Any) -> str:
    return value if kind != "json" and isinstance(value, str) else _written(value)


def _written(value: Any) -> str:
    """JSON of a value, in which a `Decimal` is a number digit for digit."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{json.dumps(str(name))}:{_written(member)}" for name, member in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_written(element) for element in value) + "]"
    return json.dumps(value, allow_nan=False)
