// Numbers, spans and times as people read them. All times of the page are local; the title of each gives UTC.

import { h } from './dom.js';

const WHOLE = new Intl.NumberFormat('en-GB', { maximumFractionDigits: 0 });
const TENTHS = new Intl.NumberFormat('en-GB', { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const NONE = '–';

export function count(value) {
  return value === null || value === undefined ? NONE : WHOLE.format(value);
}

export function rate(value) {
  if (value === null || value === undefined) return NONE;
  return value !== 0 && value < 10 ? TENTHS.format(value) : WHOLE.format(value);
}

// 12345678 as 12.3 M, where there is little room.
export function brief(value) {
  if (value === null || value === undefined) return NONE;
  for (const [size, unit] of [
    [1e9, 'G'],
    [1e6, 'M'],
    [1e4, 'k'],
  ]) {
    if (Math.abs(value) >= size) {
      const part = value / (unit === 'k' ? 1e3 : size);
      return `${part >= 100 ? WHOLE.format(part) : TENTHS.format(part)} ${unit}`;
    }
  }
  return Math.abs(value) < 10 && value % 1 ? TENTHS.format(value) : WHOLE.format(value);
}

export function span(ms) {
  if (ms === null || ms === undefined) return NONE;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${TENTHS.format(ms / 1000)} s`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return `${minutes} min ${Math.floor((ms % 60_000) / 1000)} s`;
  if (minutes < 2880) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.floor(minutes / 1440)} d ${Math.floor((minutes % 1440) / 60)} h`;
}

// A span to wait for: whole seconds, so that it counts down evenly.
export function until(ms) {
  const seconds = Math.ceil(ms / 1000);
  return seconds < 60 ? `${seconds} s` : span(seconds * 1000);
}

export function bytes(value) {
  if (value === null || value === undefined) return NONE;
  if (value < 1024) return `${value} B`;
  return value < 1048576 ? `${TENTHS.format(value / 1024)} KiB` : `${TENTHS.format(value / 1048576)} MiB`;
}

const pad = (value, size = 2) => String(value).padStart(size, '0');

export function clock(at, { millis = false } = {}) {
  const date = new Date(at);
  if (!at || Number.isNaN(date.getTime())) return NONE;
  const text = `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
  return millis ? `${text}.${pad(date.getMilliseconds(), 3)}` : text;
}

export function day(at) {
  const date = new Date(at);
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
}

// The time today, and the day before it on others.
export function moment(at, options) {
  if (!at || Number.isNaN(new Date(at).getTime())) return NONE;
  return day(at) === day(Date.now()) ? clock(at, options) : `${day(at)} ${clock(at, options)}`;
}

export function ago(at, now = Date.now()) {
  if (!at) return NONE;
  const past = now - new Date(at).getTime();
  return past < 1500
    ? 'just now'
    : `${span(Math.max(0, past))
        .replace(/\.\d s$/, ' s')
        .replace(/ \d+ s$/, (all) => (past < 60_000 ? all : ''))} ago`;
}

// A time that a screen reader and a mouse can ask for in full.
export function time(at, options) {
  if (!at) return NONE;
  return h('time', { datetime: String(at), title: String(at) }, moment(at, options));
}

// An id: its first characters, and all of it for who asks.
export function shortId(id) {
  return id && id.length > 13 ? `${id.slice(0, 8)}…${id.slice(-4)}` : (id ?? NONE);
}

export function plural(amount, one, many = `${one}s`) {
  return `${count(amount)} ${amount === 1 ? one : many}`;
}

// One line of a value, for a table; cut, since a row is no place for a megabyte. Each field is isolated, so that a name
// that is written from right to left moves nothing beside it.
export function preview(value, length = 160) {
  if (value === null || value === undefined) return ['null: a tombstone, which deletes the user'];
  if (typeof value !== 'object') return [h('bdi', null, String(value).slice(0, length))];
  const told = TOLD.filter((name) => value[name] !== undefined && value[name] !== null);
  if (told.length < 2) return [h('bdi', null, JSON.stringify(value).slice(0, length))];
  return told.flatMap((name, index) => [index ? ' · ' : '', h('bdi', null, String(value[name]).slice(0, length))]);
}

const TOLD = ['first_name', 'last_name', 'gender', 'email', 'address'];
