// The last quarter of an hour in four charts with one cursor. uPlot draws on canvases, so that a point costs no element.

import { h, put } from './dom.js';
import { brief, clock, rate, span } from './format.js';

const HEIGHT = 150;
const FILL = 0.12;
// The axis tells seconds where less than this is shown.
const SECONDS_BELOW = 240;
const SPANS = [
  [60, '1 min'],
  [300, '5 min'],
  [900, '15 min'],
];
const CHARTS = [
  {
    title: 'Throughput',
    unit: 'records/s',
    format: rate,
    series: [
      ['fetched', 'fetched', '--line-1'],
      ['produced', 'sent', '--line-2'],
      ['written', 'written', '--line-3'],
    ],
  },
  { title: 'Latency, fetch to row', unit: 'p99', format: span, least: 10, series: [['p99_ms', 'p99', '--line-4']] },
  { title: 'Lag', unit: 'records', format: brief, least: 10, series: [['lag', 'behind', '--line-2']] },
  { title: 'Dead letters', unit: 'records/s', format: rate, series: [['dead_lettered', 'set aside', '--line-5']] },
];

let seconds = 900;

export function mountCharts() {
  const charts = CHARTS.map(chart);
  const choices = SPANS.map(([value, label]) =>
    h('button', { type: 'button', aria: { pressed: String(value === seconds) }, onclick: () => choose(value) }, label),
  );
  const element = h(
    'section',
    { aria: { labelledby: 'charts-title' } },
    h(
      'div.heading',
      null,
      h('h3', { id: 'charts-title' }, 'Over time'),
      h('div.choices', { role: 'group', aria: { label: 'How far back' } }, choices),
    ),
    h(
      'div.charts',
      null,
      charts.map(({ figure }) => figure),
    ),
  );
  let shown = -1;
  let last = null;
  const observer = new ResizeObserver(() => {
    for (const it of charts) it.resize();
  });
  for (const { figure } of charts) observer.observe(figure);

  function choose(value) {
    seconds = value;
    choices.forEach((choice, index) => choice.setAttribute('aria-pressed', String(SPANS[index][0] === value)));
    shown = -1;
    if (last) update(last);
  }

  function update(world) {
    last = world;
    if (!world.history || world.version.history === shown) return;
    shown = world.version.history;
    for (const it of charts) it.draw(world.history);
  }

  function restyle() {
    for (const it of charts) it.forget();
    shown = -1;
    if (last) update(last);
  }

  const dark = matchMedia('(prefers-color-scheme: dark)');
  addEventListener('themechange', restyle);
  dark.addEventListener('change', restyle);
  return {
    element,
    update,
    unmount() {
      observer.disconnect();
      removeEventListener('themechange', restyle);
      dark.removeEventListener('change', restyle);
      for (const it of charts) it.forget();
    },
  };
}

// A colour of the theme as a canvas takes it.
function color(name, alpha = 1) {
  const probe = h('i');
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const [, parts] = getComputedStyle(probe).color.match(/rgba?\(([^)]*)\)/) ?? [null, '128, 128, 128'];
  probe.remove();
  return `rgba(${parts}, ${alpha})`;
}

function chart({ title, unit, format, series, least = 1 }) {
  const legend = series.map(([, label, color]) => {
    const value = h('b');
    const key = h('i.key');
    key.style.background = `var(${color})`;
    return { item: h('span.legend', null, key, series.length > 1 ? `${label} ` : '', value), value };
  });
  const when = h('span.when');
  const home = h('div.plot');
  const figure = h(
    'figure.chart',
    null,
    h(
      'figcaption',
      null,
      h('strong', null, title),
      h('span.unit', null, unit),
      when,
      h(
        'span.legends',
        null,
        legend.map(({ item }) => item),
      ),
    ),
    home,
  );
  let plot = null;
  let data = null;

  // The values under the cursor, or the last ones.
  function tell(index) {
    const at = index ?? (data ? data[0].length - 1 : -1);
    put(when, index === null || index === undefined || !data ? '' : clock(data[0][at] * 1000));
    legend.forEach(({ value }, line) => put(value, data && at >= 0 ? format(data[line + 1][at]) : '–'));
  }

  function make() {
    const axis = {
      stroke: color('--muted'),
      grid: { stroke: color('--grid'), width: 1 },
      ticks: { show: false },
      font: `11px ${getComputedStyle(document.body).fontFamily}`,
    };
    const options = {
      width: Math.max(200, home.clientWidth),
      height: HEIGHT,
      legend: { show: false },
      padding: [8, 28, 0, 0],
      cursor: { sync: { key: 'userpipe' }, y: false, drag: { x: false, y: false }, points: { size: 6 } },
      scales: {
        x: { time: true, range: (_, first, last) => [Math.min(first, last - SPANS[0][0]), last] },
        y: { range: (_, low, high) => [Math.min(0, low ?? 0), Math.max(least, (high ?? 0) * 1.12)] },
      },
      axes: [
        {
          ...axis,
          size: 26,
          space: 70,
          values: (_, ticks) =>
            ticks.map((tick) => clock(tick * 1000).slice(0, ticks.at(-1) - ticks[0] > SECONDS_BELOW ? 5 : 8)),
        },
        {
          ...axis,
          size: 52,
          space: 34,
          values: (_, ticks) => ticks.map((tick) => (format === span ? span(tick) : brief(tick))),
        },
      ],
      series: [
        {},
        ...series.map(([, label, name]) => ({
          label,
          stroke: color(name),
          width: 1.5,
          points: { show: false },
          spanGaps: false,
          fill: series.length === 1 ? color(name, FILL) : undefined,
        })),
      ],
      hooks: { setCursor: [(self) => tell(self.cursor.idx)] },
    };
    plot = new uPlot(options, data, home);
    const canvas = home.querySelector('canvas');
    canvas.setAttribute('role', 'img');
    canvas.setAttribute('aria-label', `${title} of the last minutes, ${unit}; the newest values are in the heading`);
  }

  function draw({ at, series: all }) {
    const first = Math.max(0, at.length - seconds);
    data = [at.slice(first), ...series.map(([name]) => all[name].slice(first))];
    if (plot) plot.setData(data);
    else make();
    if (plot.cursor.idx === null || plot.cursor.idx === undefined) tell(null);
  }

  function forget() {
    plot?.destroy();
    plot = null;
  }

  function resize() {
    const width = Math.max(200, home.clientWidth);
    if (plot && plot.width !== width) plot.setSize({ width, height: HEIGHT });
  }

  return { figure, draw, forget, resize };
}
