// What the page knows, and how it is kept up to date: one event stream, with backoff, and one render per frame.

import { get, stream } from './api.js';
import { whenTokenChanges } from './session.js';

const BACKOFF_MS = [500, 1_000, 2_000, 4_000, 8_000, 15_000];
const SILENCE_MS = 6_000;
const HISTORY_MAX = 900;
const RATES_MAX = 60;
const RUNS_MAX = 120;
const SERIES = ['fetched', 'produced', 'written', 'dead_lettered', 'lag', 'p99_ms'];

// The one picture of the server. `version.*` tells a view cheaply whether a part has changed.
export const world = {
  connection: { state: 'connecting', since: Date.now(), retry_at: null, error: null },
  overview: null,
  flow: null,
  partitions: null,
  dead_letters: null,
  runs: null,
  history: null,
  rates: {},
  version: { runs: 0, history: 0, dead_letters: 0 },
};

const listeners = new Set();
let isScheduled = false;

export function subscribe(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

// All changes of a frame are shown at once, and none while nobody looks.
export function changed() {
  if (isScheduled || document.hidden) return;
  isScheduled = true;
  requestAnimationFrame(() => {
    isScheduled = false;
    for (const listener of [...listeners]) listener(world);
  });
}

function connection(state, more) {
  const was = world.connection;
  const since = was.state === state ? was.since : Date.now();
  world.connection = { state, since, retry_at: null, error: null, seen_at: was.seen_at ?? null, ...more };
  changed();
}

let attempt = 0;
let lastHeard = 0;
let current = null;
let wake = null;

// Runs for as long as the page is open.
export async function connect() {
  // A stream that lives needs no other token.
  whenTokenChanges(() => {
    if (world.connection.state !== 'live') {
      attempt = 0;
      wake?.();
    }
  });
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) {
      wake?.();
      changed();
    }
  });
  addEventListener('online', () => wake?.());
  setInterval(() => watch(), 1_000);
  for (;;) {
    current = new AbortController();
    lastHeard = Date.now();
    let failure = null;
    try {
      await stream('/api/events', null, receive, { signal: current.signal, opened: begin });
    } catch (error) {
      failure = error;
    }
    const wait = BACKOFF_MS[Math.min(attempt, BACKOFF_MS.length - 1)] * (0.8 + Math.random() * 0.4);
    attempt += 1;
    const isRefused = failure?.status === 401 || failure?.status === 403;
    connection(isRefused ? 'refused' : 'lost', {
      retry_at: Date.now() + wait,
      error: failure?.name === 'AbortError' ? null : failure,
    });
    await pause(wait);
  }
}

function pause(ms) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}

// A server that is frozen keeps its connection: silence is taken for a loss.
function watch() {
  if (world.connection.state === 'live' && Date.now() - lastHeard > SILENCE_MS) current.abort();
  changed();
}

// What a stream does not repeat is read again whenever one begins.
function begin() {
  lastHeard = Date.now();
  refreshRuns();
  refreshHistory();
}

function receive(event, data) {
  lastHeard = Date.now();
  if (world.connection.state !== 'live') connection('live', {});
  attempt = 0;
  world.connection.seen_at = Date.now();
  if (event === 'tick') tick(data);
  else if (event === 'run') upsert(data);
  changed();
}

function tick(data) {
  for (const part of ['overview', 'flow', 'partitions']) if (data[part]) world[part] = data[part];
  if (data.dead_letters !== undefined && data.dead_letters !== world.dead_letters) {
    world.dead_letters = data.dead_letters;
    world.version.dead_letters += 1;
  }
  if (data.runs_changed) refreshRuns();
  append(data);
  for (const { name, per_second: rate } of data.flow?.hops ?? []) {
    const rates = (world.rates[name] ??= []);
    rates.push(rate ?? 0);
    if (rates.length > RATES_MAX) rates.shift();
  }
}

// The answer to a change may come before its event, and with less in it.
export function upsert(run) {
  if (!world.runs) return;
  const { runs } = world.runs;
  const at = runs.findIndex(({ run_id }) => run_id === run.run_id);
  if (at >= 0) runs[at] = { ...runs[at], ...run };
  else runs.unshift(run);
  runs.length = Math.min(runs.length, RUNS_MAX);
  world.version.runs += 1;
  changed();
}

let isRefreshing = false;
let isStale = false;

export async function refreshRuns() {
  if (isRefreshing) {
    isStale = true;
    return;
  }
  isRefreshing = true;
  try {
    world.runs = await get('/api/runs', { limit: RUNS_MAX });
    world.runs_error = null;
  } catch (error) {
    world.runs_error = error;
  }
  world.version.runs += 1;
  isRefreshing = false;
  changed();
  if (isStale) {
    isStale = false;
    refreshRuns();
  }
}

async function refreshHistory() {
  try {
    const { at, series } = await get('/api/history');
    world.history = {
      at: at.map((ms) => ms / 1000),
      series: Object.fromEntries(SERIES.map((name) => [name, series[name] ?? []])),
    };
    cut();
  } catch {
    world.history ??= { at: [], series: Object.fromEntries(SERIES.map((name) => [name, []])) };
  }
  world.version.history += 1;
  changed();
}

function append({ overview, flow }) {
  if (!world.history || !flow) return;
  const { at, series } = world.history;
  const now = Math.floor(new Date(flow.at).getTime() / 1000);
  if (at.length && now <= at.at(-1)) return;
  const hop = (name) => flow.hops.find((it) => it.name === name)?.per_second ?? null;
  const values = [
    hop('source'),
    hop('topic'),
    hop('sink'),
    hop('dead letters'),
    overview?.lag ?? null,
    overview?.latency?.p99_ms ?? null,
  ];
  at.push(now);
  SERIES.forEach((name, index) => series[name].push(values[index]));
  cut();
  world.version.history += 1;
}

function cut() {
  const { at, series } = world.history;
  const extra = at.length - HISTORY_MAX;
  if (extra <= 0) return;
  at.splice(0, extra);
  for (const name of SERIES) series[name].splice(0, extra);
}
