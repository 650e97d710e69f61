// What follows is the same in every client.

/** A 64-bit integer as it is given: a `number` only where it is exact, else a `RangeError`. Rows have `bigint`. */
export type Int = bigint | number;

/** How one call is made. */
export interface Options {
    /** Ends the call. What is thrown then is the signal's reason. */
    signal?: AbortSignal;
    /** How often it is tried, 3 by default. Only a read is tried again, or a write with an idempotency key. */
    attempts?: number;
}

/** How a call is made that is done once per key, however often it is sent. */
export interface KeyedOptions extends Options {
    /**
     * A new one for each call if none is given: then only this call's own attempts are one. Give one, and the same again,
     * where the call itself may be made again.
     */
    idempotencyKey?: string;
}

/** A call that failed. */
export class Fault extends Error {
    /** What went wrong. */
    readonly code: Code;
    /** The HTTP status of the reply; 0 where there was none. */
    readonly status: number;
    /** Whether the same call, made again later, may succeed without harm. */
    readonly retryable: boolean;
    /** What the function's log line is found by. */
    readonly requestId: string | undefined;
    /** Which step of a transaction or a batch failed, from 0. */
    readonly step: number | undefined;

    constructor(
        code: Code,
        message: string,
        told: { status?: number; retryable?: boolean; requestId?: unknown; step?: unknown; cause?: unknown } = {},
    ) {
        super(message);
        this.name = "Fault";
        if (told.cause !== undefined) Object.defineProperty(this, "cause", { value: told.cause, configurable: true });
        this.code = code;
        this.status = told.status ?? 0;
        this.retryable = told.retryable ?? false;
        this.requestId = typeof told.requestId === "string" ? told.requestId : undefined;
        this.step = typeof told.step === "number" ? told.step : undefined;
    }
}

/** The function behind a URL: made by `http()`. */
export interface Http {
    readonly kind: "http";
    readonly ask: (request: Request, signal: AbortSignal | undefined) => Promise<Answer>;
}

/** The function by its name: made by `invoke()`. */
export interface Invoke {
    readonly kind: "invoke";
    readonly ask: (request: Request, signal: AbortSignal | undefined) => Promise<Answer>;
}

/**
 * Calls the function over HTTP: `url` is what stands before the query's name, with stage and base path. `headers` are
 * sent with each call, such as an authorization; a function is asked for each. `fetch` is for one that signs.
 */
export function http(
    url: string,
    how: {
        headers?: Record<string, string> | (() => Record<string, string> | Promise<Record<string, string>>);
        fetch?: typeof globalThis.fetch;
    } = {},
): Http {
    const base = url.replace(/\/+$/, "");
    const fetch = how.fetch ?? globalThis.fetch;
    const ask = async (request: Request, signal: AbortSignal | undefined): Promise<Answer> => {
        const own = typeof how.headers === "function" ? await how.headers() : how.headers;
        const { method, path, headers, body } = request.http();
        const init: RequestInit = { method, headers: { ...own, ...headers }, redirect: "error" };
        if (body !== undefined) init.body = body;
        if (signal !== undefined) init.signal = signal;
        const response = await fetch(base + path, init);
        const answer: Answer = { status: response.status, body: await response.text() };
        const after = Number(response.headers.get("retry-after") ?? "");
        if (after > 0) answer.retryAfter = after * 1000;
        return answer;
    };
    return { kind: "http", ask };
}

/**
 * Calls the function by its name: `invoke(new LambdaClient({ maxAttempts: 1 }), InvokeCommand, "shop")`. The client
 * must not try again by itself, since it would do so for writes as well; this one does where no harm comes of it.
 */
export function invoke<C>(
    client: {
        readonly config: { readonly maxAttempts: () => Promise<number> };
        send(command: NoInfer<C>, options: { abortSignal?: AbortSignal }): Promise<Invoked>;
    },
    command: new (input: { FunctionName: string; Payload: Uint8Array }) => C,
    functionName: string,
): Invoke {
    const ask = async (request: Request, signal: AbortSignal | undefined): Promise<Answer> => {
        if ((await client.config.maxAttempts()) !== 1) {
            throw new Misuse("this client tries again by itself, writes as well: make it with { maxAttempts: 1 }");
        }
        const payload = new TextEncoder().encode(request.event());
        const options = signal === undefined ? {} : { abortSignal: signal };
        const invoked = await client.send(new command({ FunctionName: functionName, Payload: payload }), options);
        const text = new TextDecoder().decode(invoked.Payload);
        // Not a reply: the function crashed or ran out of time.
        if (invoked.FunctionError !== undefined) return { status: 502, body: text };
        const reply = read(text) as { statusCode?: unknown; headers?: Record<string, unknown>; body?: unknown };
        const answer: Answer = { status: Number(reply.statusCode), body: String(reply.body) };
        const after = Number(reply.headers?.["retry-after"] ?? "");
        if (after > 0) answer.retryAfter = after * 1000;
        return answer;
    };
    return { kind: "invoke", ask };
}

/** A call that cannot be made, whatever the function says. */
class Misuse extends TypeError {}

/** What Lambda's client gives for an invocation. */
interface Invoked {
    readonly Payload?: Uint8Array | undefined;
    readonly FunctionError?: string | undefined;
}

/** One call, of which each way takes its form. */
interface Request {
    event(): string;
    http(): { method: string; path: string; headers: Record<string, string>; body?: string };
}

interface Answer {
    status: number;
    body: string;
    retryAfter?: number;
}

/** What a value is converted by; what is none of these goes as it is. */
type Kind = "int" | "float" | "bytes" | "json" | "plain";

/** What is known of a query. */
interface Query<R> {
    readonly name: string;
    readonly gives: "rows" | "row" | "changes" | "page";
    /** Whether it may be run twice: the server holds it to reading. */
    readonly reads: boolean;
    readonly methods: readonly ("GET" | "POST")[];
    /** Where its idempotency key is: in a header, or a parameter. */
    readonly key?: { readonly header: string } | { readonly param: string };
    readonly params: Readonly<Record<string, Kind>>;
    /** The parameters that travel as headers, with the headers' names. */
    readonly headers?: Readonly<Record<string, string>>;
    readonly columns: Readonly<Record<string, Kind>>;
    /** Only a type. */
    readonly result?: R;
}

/** A query with its parameters, for `transaction` and `batch`. */
export interface Step<R> {
    readonly query: Query<R>;
    readonly params: Readonly<Record<string, unknown>>;
}

function step<R>(query: Query<R>, params: object): Step<R> {
    const encoded: Record<string, unknown> = {};
    for (const [name, value] of Object.entries(params)) {
        const kind = query.params[name];
        if (kind === undefined) throw new TypeError(`${query.name} has no parameter ${name}`);
        if (value !== undefined) encoded[name] = given(kind, value, name);
    }
    return { query, params: encoded };
}

/** Some of a query's rows. `next` is the `page` of the next call, and null behind the last page. */
export interface Page<R> {
    rows: R[];
    next: string | null;
}

/** The rows of all pages, each page asked for when it is needed. */
export async function* everyRow<R>(
    via: Http | Invoke,
    query: Query<Page<R>>,
    params: { page?: string | null },
    options: Options,
): AsyncGenerator<R, void, undefined> {
    for (let page = params.page; ; ) {
        const told = await run(via, step(query, { ...params, page }), options);
        yield* told.rows;
        if (told.next === null) return;
        page = told.next;
    }
}

/** Runs one query. */
async function run<R>(via: Http | Invoke, { query, params }: Step<R>, options: KeyedOptions): Promise<R> {
    const header = query.key !== undefined && "header" in query.key ? query.key.header : undefined;
    const key = header === undefined ? undefined : (options.idempotencyKey ?? globalThis.crypto.randomUUID());
    const known = query.key !== undefined && "param" in query.key && (params[query.key.param] ?? null) !== null;
    const body: Record<string, unknown> = {};
    const headers: Record<string, string> = {};
    for (const [name, value] of Object.entries(params)) {
        const header = query.headers?.[name];
        if (header === undefined) body[name] = value;
        else headers[header] = text(query.params[name], value);
    }
    if (header !== undefined && key !== undefined) headers[header] = key;
    const request: Request = {
        event: () => written({ query: query.name, params: body, idempotencyKey: key, onError: "reply" }),
        http: () => {
            const path = `/${query.name}`;
            const search = query.methods.includes("GET") ? queryString(query, body) : undefined;
            if (search !== undefined && (search.length < 6000 || !query.methods.includes("POST"))) {
                return { method: "GET", path: path + search, headers };
            }
            if (!query.methods.includes("POST")) {
                throw new Misuse(`${query.name} is called by GET, which has no null and no empty list`);
            }
            const sent = { ...headers, "content-type": "application/json" };
            return { method: "POST", path, headers: sent, body: written(body) };
        },
    };
    return result(query, await asked(via, request, query.reads || key !== undefined || known, options));
}

/** Runs several queries in one transaction: all of them, or none. */
async function several(via: Http | Invoke, list: object, steps: readonly Step<unknown>[], options: KeyedOptions) {
    // One for all of it, if a step asks for one.
    const keyed = steps.some(({ query }) => query.key !== undefined);
    const key = keyed ? (options.idempotencyKey ?? globalThis.crypto.randomUUID()) : undefined;
    const event = { ...list, idempotencyKey: key };
    const request: Request = {
        event: () => written({ ...event, onError: "reply" }),
        http: () => ({
            method: "POST",
            path: "",
            headers: { "content-type": "application/json" },
            body: written(event),
        }),
    };
    const safe = keyed || steps.every(({ query }) => query.reads);
    const told = (await asked(via, request, safe, options)) as unknown[];
    return steps.map(({ query }, index) => result(query, told[index]));
}

/** Runs the steps in one transaction: all of them, or none. Gives the result of each. */
export async function transaction<const T extends readonly Step<unknown>[]>(
    via: Several,
    steps: T,
    options: KeyedOptions = {},
): Promise<{ -readonly [K in keyof T]: T[K] extends Step<infer R> ? R : never }> {
    const list = steps.map(({ query, params }) => ({ query: query.name, params }));
    return (await several(via, { transaction: list }, steps, options)) as never;
}

/** Runs one query with many sets of parameters in one transaction: all of them, or none. Gives the result of each. */
export async function batch<R>(via: Several, steps: readonly Step<R>[], options: KeyedOptions = {}): Promise<R[]> {
    const [first] = steps;
    if (first === undefined) return [];
    if (steps.some(({ query }) => query !== first.query)) throw new TypeError("a batch runs one query; a transaction several");
    const list = { query: first.query.name, params: steps.map(({ params }) => params) };
    return (await several(via, { batch: list }, steps, options)) as R[];
}

async function asked(via: Http | Invoke, request: Request, safe: boolean, options: Options): Promise<unknown> {
    for (let attempt = 1; ; attempt++) {
        let fault: Fault;
        let after = 0;
        try {
            const answer = await via.ask(request, options.signal);
            after = answer.retryAfter ?? 0;
            const told = reply(answer, safe);
            if (!(told instanceof Fault)) return told;
            fault = told;
        } catch (error) {
            if (options.signal?.aborted || error instanceof Misuse) throw error;
            fault = unanswered(error, safe);
        }
        if (!safe || !fault.retryable || attempt >= (options.attempts ?? 3)) throw fault;
        await pause(Math.max(after, Math.random() * Math.min(2000, 100 * 2 ** attempt)), options.signal);
    }
}

/** What the function told, or the fault that it told of. */
function reply({ status, body }: Answer, safe: boolean): unknown {
    let told: unknown;
    try {
        told = read(body);
    } catch {
        return noReply(status, safe);
    }
    if (status >= 200 && status < 300) return told;
    const error = (told as { error?: { code?: unknown; message?: unknown; retryable?: unknown; requestId?: unknown; step?: unknown } } | null)?.error;
    if (typeof error?.code !== "string") return noReply(status, safe);
    const code = (CODES as readonly string[]).includes(error.code) ? (error.code as Code) : "other";
    const { requestId, step } = error;
    return new Fault(code, String(error.message), { status, retryable: error.retryable === true, requestId, step });
}

function noReply(status: number, safe: boolean, cause?: unknown): Fault {
    const doubt = safe ? "" : " Whether the change was made is not known: look before you send it again.";
    const what = status === 0 ? "There was no reply." : `What replied, with status ${status}, was not the function.`;
    const passes = status === 0 || status === 429 || status >= 500;
    return new Fault("no_reply", what + doubt, { status, retryable: safe && passes, cause });
}

function unanswered(error: unknown, safe: boolean): Fault {
    if (error instanceof Fault) return error;
    const status = (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode ?? 0;
    return noReply(status, safe, error);
}

async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
    await new Promise<void>((resolve, reject) => {
        const ended = () => reject(signal?.reason);
        const timer = globalThis.setTimeout(() => {
            signal?.removeEventListener("abort", ended);
            resolve();
        }, ms);
        signal?.addEventListener("abort", () => {
            globalThis.clearTimeout(timer);
            ended();
        }, { once: true });
    });
}

function result<R>({ gives, columns }: Query<R>, told: unknown): R {
    const row = (value: unknown) => {
        const row = value as Record<string, unknown>;
        for (const [name, kind] of Object.entries(columns)) {
            if (Object.hasOwn(row, name)) row[name] = taken(kind, row[name]);
        }
        return row;
    };
    if (gives === "page") {
        const { rows, next } = told as Page<unknown>;
        return { rows: rows.map(row), next } as R;
    }
    return (gives === "rows" ? (told as unknown[]).map(row) : row(told)) as R;
}

/** A value as it stands in a reply, to one of the row's type. What is none is left as it is. */
function taken(kind: Kind, value: unknown): unknown {
    if (Array.isArray(value)) return value.map((element) => taken(kind, element));
    switch (kind) {
        case "int":
            if (typeof value === "number" && Number.isInteger(value)) return BigInt(value);
            return typeof value === "string" && /^-?\d+$/.test(value) ? BigInt(value) : value;
        case "float":
            if (value === "NaN" || value === "Infinity" || value === "-Infinity") return Number(value);
            return typeof value === "bigint" ? Number(value) : value;
        case "bytes":
            if (typeof value !== "string") return value;
            return Uint8Array.from(globalThis.atob(value), (character) => character.charCodeAt(0));
        default:
            return value;
    }
}

/** A parameter, to a value as the event has it. */
function given(kind: Kind, value: unknown, name: string): unknown {
    if (kind === "json" || value === null) return value;
    if (Array.isArray(value)) return value.map((element) => given(kind, element, name));
    switch (kind) {
        case "int":
            if (typeof value === "number" && !Number.isSafeInteger(value)) {
                throw new RangeError(`${name}: ${value} is no exact integer; give a bigint`);
            }
            return value;
        case "float":
            return typeof value === "number" && (!Number.isFinite(value) || Object.is(value, -0)) ? floatText(value) : value;
        case "bytes": {
            let binary = "";
            for (const byte of value as Uint8Array) binary += String.fromCharCode(byte);
            return globalThis.btoa(binary);
        }
        default:
            return value;
    }
}

function floatText(value: number): string {
    return Object.is(value, -0) ? "-0" : String(value);
}

/** The parameters as a GET has them; `undefined` for what it cannot have. */
function queryString(query: Query<unknown>, params: Record<string, unknown>): string | undefined {
    const pairs: string[] = [];
    for (const [name, value] of Object.entries(params)) {
        const kind = query.params[name];
        const values = Array.isArray(value) && kind !== "json" ? value : [value];
        if (values.length === 0 || (kind !== "json" && values.includes(null))) return undefined;
        for (const one of values) pairs.push(`${name}=${globalThis.encodeURIComponent(text(kind, one))}`);
    }
    return pairs.length === 0 ? "" : `?${pairs.join("&")}`;
}

function text(kind: Kind | undefined, value: unknown): string {
    return kind === "json" ? written(value) : String(value);
}

/** JSON of a value, in which a `bigint` is an integer. */
function written(value: unknown): string {
    if (typeof value === "bigint") return value.toString();
    if (Array.isArray(value)) return `[${value.map(written).join(",")}]`;
    if (typeof value === "object" && value !== null && !("toJSON" in value)) {
        const members = Object.entries(value).filter(([, member]) => member !== undefined);
        return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${written(member)}`).join(",")}}`;
    }
    return JSON.stringify(value) ?? "null";
}

/** Reads JSON; an integer that a `number` does not hold exactly is a `bigint`, which `JSON.parse` would round. */
function read(json: string): unknown {
    const number = /-?\d+(\.\d+)?([eE][+-]?\d+)?/y;
    let at = 0;
    const wrong = () => new SyntaxError(`no JSON at ${at}`);
    const blank = () => {
        while (at < json.length && " \t\n\r".includes(json.charAt(at))) at++;
    };
    const is = (character: string): boolean => {
        blank();
        if (json.charAt(at) !== character) return false;
        at++;
        return true;
    };
    const word = (word: string, value: unknown): unknown => {
        if (!json.startsWith(word, at)) throw wrong();
        at += word.length;
        return value;
    };
    const string = (): string => {
        const start = at;
        let end = start;
        let escaped = false;
        for (;;) {
            end = json.indexOf('"', end + 1);
            if (end < 0) throw wrong();
            let slash = end;
            while (json.charAt(slash - 1) === "\\") slash--;
            escaped ||= slash < end;
            if ((end - slash) % 2 === 0) break;
        }
        at = end + 1;
        escaped ||= json.slice(start, end).includes("\\");
        return escaped ? (JSON.parse(json.slice(start, at)) as string) : json.slice(start + 1, end);
    };
    const value = (): unknown => {
        blank();
        switch (json.charAt(at)) {
            case '"':
                return string();
            case "{": {
                at++;
                const object: Record<string, unknown> = {};
                if (is("}")) return object;
                do {
                    blank();
                    if (json.charAt(at) !== '"') throw wrong();
                    const name = string();
                    if (!is(":")) throw wrong();
                    const member = value();
                    if (name === "__proto__") {
                        Object.defineProperty(object, name, { value: member, enumerable: true, configurable: true, writable: true });
                    } else object[name] = member;
                } while (is(","));
                if (!is("}")) throw wrong();
                return object;
            }
            case "[": {
                at++;
                const array: unknown[] = [];
                if (is("]")) return array;
                do array.push(value());
                while (is(","));
                if (!is("]")) throw wrong();
                return array;
            }
            case "t":
                return word("true", true);
            case "f":
                return word("false", false);
            case "n":
                return word("null", null);
            default: {
                number.lastIndex = at;
                const found = number.exec(json);
                if (found === null) throw wrong();
                at = number.lastIndex;
                const exact = Number(found[0]);
                const integer = found[1] === undefined && found[2] === undefined;
                return integer && !Number.isSafeInteger(exact) ? BigInt(found[0]) : exact;
            }
        }
    };
    const whole = value();
    blank();
    if (at < json.length) throw wrong();
    return whole;
}
