// Calls of this server. Addresses are relative, so that the page also works below a path of a proxy.

const KEY = "geminifusion-api-key";
const PATIENCE_MS = 120_000;

/** What went wrong, as a sentence and what to do; `code` as docs/reference/errors.md lists it. */
export class Problem extends Error {
  constructor(message, facts = {}) {
    super(message);
    Object.assign(this, facts);
  }
}

// Of this tab alone, and gone with it.
export const key = () => sessionStorage.getItem(KEY) ?? "";
export const setKey = (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY));

/** A response with status 200; anything else is a `Problem`. */
export async function call(path, { signal, ...options } = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  if (key()) headers.Authorization = `Bearer ${key()}`;
  const patience = AbortSignal.timeout(PATIENCE_MS);
  let response;
  try {
    response = await fetch(path, { ...options, headers, signal: signal ? AbortSignal.any([signal, patience]) : patience });
  } catch (error) {
    if (signal?.aborted) throw error;
    if (error.name === "TimeoutError") throw new Problem(`There was no response within ${PATIENCE_MS / 1000} s; send a smaller image, or try again later.`);
    if (/ISO-8859-1|ByteString/.test(error.message)) throw new Problem("The API key holds a character that no header can carry; copy it again.", { code: "unauthenticated" });
    throw new Problem(`There is no connection to ${location.host}; check that geminifusion serve still runs there, then try again.`);
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

async function problemOf(response) {
  const text = await response.text();
  let facts = {};
  try {
    facts = JSON.parse(text);
  } catch {
    // a proxy, which answers in its own words
  }
  const wait = response.headers.get("Retry-After");
  const detail = facts.detail ?? `something before this server answered with status ${response.status}; ask who runs it`;
  return new Problem(wait ? `${detail}; try again in ${wait} s` : detail, {
    code: facts.code ?? "", status: response.status, requestId: facts.request_id ?? response.headers.get("X-Request-Id"),
  });
}

export async function json(path, options) {
  return (await call(path, options)).json();
}

/** POST one scene to the path of a task. `parts` are {part, file}; gives the response and how long it took to come. */
export async function post(verb, parts, query, signal) {
  const body = new FormData();
  for (const { part, file } of parts) body.append(part, file, file.name);
  const began = performance.now();
  const response = await call(`v1/${verb}?${new URLSearchParams(query)}`, { method: "POST", body, signal });
  const content = await response.blob();
  return { content, headers: response.headers, ms: performance.now() - began };
}

export const segment = (parts, query, signal) => post("segment", parts, query, signal);
