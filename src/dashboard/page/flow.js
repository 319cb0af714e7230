// The pipe itself: source → ledger → topic → sink, with what each hop does now, and what falls off on the way.

import { h, mark, put, show, svg } from './dom.js';
import { brief, count, rate } from './format.js';

const POINTS = 60;
const WIDTH = 120;
const HEIGHT = 30;
const HOPS = [
  { name: 'source', title: 'Source', place: ({ source }) => source },
  { name: 'ledger', title: 'Ledger', place: ({ ledger }) => ledger },
  { name: 'topic', title: 'Topic', place: ({ bus, topic }) => [topic, bus].filter(Boolean).join(' on ') },
  { name: 'sink', title: 'Sink', place: ({ sink }) => sink },
  { name: 'dead letters', title: 'Dead letters', place: () => 'what can never be decoded or written' },
];
const OF_HISTORY = { source: 'fetched', ledger: 'produced', topic: 'produced', sink: 'written', 'dead letters': 'dead_lettered' };

export function mountFlow() {
  const hops = HOPS.map(card);
  const list = h(
    'ol.flow',
    { aria: { label: 'From source to sink' } },
    hops.map(({ element }) => element),
  );
  const element = h('section', { aria: { labelledby: 'flow-title' } }, h('h3', { id: 'flow-title' }, 'Flow'), list);
  return {
    element,
    update: (world) => {
      for (const hop of hops) hop.update(world);
    },
  };
}

function card({ name, title, place }) {
  const parts = {
    where: h('p.where', { dir: 'auto' }),
    rate: h('span.rate'),
    what: h('span.what'),
    total: h('dd'),
    waiting: h('dd'),
    errors: h('dd'),
    retries: h('dd'),
  };
  const line = svg('polyline', { class: 'spark-line', points: '' });
  const area = svg('polygon', { class: 'spark-area', points: '' });
  const spark = svg('svg', {
    class: 'spark',
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    preserveAspectRatio: 'none',
    'aria-hidden': 'true',
  });
  spark.append(area, line);
  const fact = (label, value) => h('div', null, h('dt', null, label), value);
  const heading = name === 'dead letters' ? h('a', { href: '#/dead-letters' }, title) : title;
  const element = h(
    `li.hop.hop-${name.replace(' ', '-')}`,
    null,
    h('div.pipe', { aria: { hidden: 'true' } }, h('i')),
    h('h4', null, heading),
    parts.where,
    h('p.now', null, parts.rate, h('span.unit', null, '/s'), ' ', parts.what),
    spark,
    h(
      'dl.facts',
      null,
      fact('total', parts.total),
      fact('waiting', parts.waiting),
      fact('errors', parts.errors),
      fact('retries', parts.retries),
    ),
  );
  let last = null;

  function update({ overview, flow, history, rates }) {
    const hop = flow?.hops.find((it) => it.name === name);
    if (overview) {
      const text = place(overview.pipeline) ?? '–';
      put(parts.where, text);
      mark(parts.where, 'title', text);
    }
    if (!hop || flow.at === last) return;
    last = flow.at;
    put(parts.rate, rate(hop.per_second));
    put(parts.what, hop.what);
    put(parts.total, brief(hop.total));
    mark(parts.total, 'title', count(hop.total));
    for (const [key, kind] of [
      ['waiting', 'is-retrying'],
      ['errors', 'is-blocked'],
      ['retries', 'is-retrying'],
    ]) {
      show(parts[key].parentElement, hop[key] !== null && hop[key] !== undefined);
      put(parts[key], brief(hop[key]));
      mark(parts[key], 'class', hop[key] > 0 ? kind : '');
    }
    const light = overview?.lights.find((it) => it.name === (name === 'topic' ? 'bus' : name));
    const isStopped = light && (light.state === 'blocked' || light.state === 'retrying');
    const isFlowing = hop.per_second > 0 && !isStopped;
    mark(element, 'data-flow', isStopped ? light.state : isFlowing ? 'flowing' : 'still');
    element.style.setProperty('--pace', `${pace(hop.per_second)}s`);
    draw(values(history, rates[name] ?? []));
  }

  // What the server remembers reaches back further than this page.
  function values(history, seen) {
    const kept = history?.series[OF_HISTORY[name]];
    return kept?.length > seen.length ? kept.slice(-POINTS).map((value) => value ?? 0) : seen;
  }

  function draw(points) {
    const top = Math.max(1, ...points);
    const step = WIDTH / (POINTS - 1);
    const start = WIDTH - (points.length - 1) * step;
    const text = points
      .map(
        (value, index) =>
          `${(start + index * step).toFixed(1)},${(HEIGHT - 1 - (value / top) * (HEIGHT - 3)).toFixed(1)}`,
      )
      .join(' ');
    line.setAttribute('points', text);
    area.setAttribute('points', points.length > 1 ? `${start.toFixed(1)},${HEIGHT} ${text} ${WIDTH},${HEIGHT}` : '');
  }

  return { element, update };
}

// Seconds a dash takes from one hop to the next: shorter for more records, in a few steps, so that it does not jitter.
function pace(perSecond) {
  if (!(perSecond > 0)) return 4;
  return Math.max(0.6, 3 - Math.floor(Math.log10(perSecond + 1) * 2) * 0.4).toFixed(1);
}
