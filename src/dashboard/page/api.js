// The server's JSON: calls, their errors, and event streams. Described in docs/api.md.

const TOKEN = 'userpipe-token';
const TIMEOUT_MS = 30_000;
const BUFFER_MAX = 8 * 1024 * 1024;

// What went wrong with a call, in words for a person.
export class ApiError extends Error {
  constructor(message, hint, status) {
    super(message);
    this.hint = hint ?? null;
    this.status = status ?? 0;
  }
}

// The token lives as long as the tab, and nowhere else.
export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set: (value) => sessionStorage.setItem(TOKEN, value),
  forget: () => sessionStorage.removeItem(TOKEN),
};

function headers(more, given = token.get()) {
  return given ? { ...more, Authorization: `Bearer ${given}` } : { ...more };
}

export function query(path, parameters) {
  const told = Object.entries(parameters ?? {}).filter(
    ([, value]) => value !== null && value !== undefined && value !== '' && value !== false,
  );
  return told.length ? `${path}?${new URLSearchParams(told)}` : path;
}

async function refusal(response) {
  const body = await response.json().catch(() => ({}));
  return new ApiError(
    body.error ?? `the server answered ${response.status} ${response.statusText}`,
    body.hint,
    response.status,
  );
}

async function call(path, options) {
  let response;
  try {
    response = await fetch(path, { cache: 'no-store', credentials: 'omit', ...options });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    if (error.name === 'TimeoutError')
      throw new ApiError('the server took too long to answer', 'it may be waiting for a store that is down', 0);
    throw new ApiError('userpipe cannot be reached', 'is the process still running?', 0);
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

export async function get(path, parameters, { signal } = {}) {
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  const both = signal ? AbortSignal.any([signal, limit]) : limit;
  return (await call(query(path, parameters), { headers: headers(), signal: both })).json();
}

export async function post(path, body) {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const options = {
    method: 'POST',
    headers: headers({ 'Content-Type': 'application/json' }),
    body: JSON.stringify(body ?? {}),
    signal,
  };
  const text = await (await call(path, options)).text();
  return text ? JSON.parse(text) : {};
}

// Whether the server takes this token.
export async function accepts(candidate) {
  const response = await call('/api/session', {
    headers: headers({}, candidate),
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  return (await response.json()).may_change === true;
}

// Reads an event stream until it ends or is aborted. It is fetch and not EventSource, which cannot send the token.
// `on(event, data)` is called for each event, in order.
export async function stream(path, parameters, on, { signal, opened } = {}) {
  const response = await call(query(path, parameters), { headers: headers({ Accept: 'text/event-stream' }), signal });
  opened?.();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value.replaceAll('\r', '');
    if (rest.length > BUFFER_MAX) throw new ApiError('an event of the server is too long', null, 0);
    const events = rest.split('\n\n');
    rest = events.pop();
    for (const event of events) dispatch(event, on);
  }
}

function dispatch(text, on) {
  let name = 'message';
  const data = [];
  for (const line of text.split('\n')) {
    if (line.startsWith('event:')) name = line.slice(6).trim();
    else if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
  }
  if (data.length) on(name, JSON.parse(data.join('\n')));
}
