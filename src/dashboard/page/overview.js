// The first part: the flow from hop to hop, the same over time, and the last runs.

import { h } from './dom.js';
import { mountCharts } from './charts.js';
import { mountFlow } from './flow.js';
import { mountRunStrip } from './runs.js';

export function overview(home) {
  const flow = mountFlow();
  const charts = mountCharts();
  const strip = mountRunStrip({
    onpick: (id) => {
      location.hash = `#/runs/${id}`;
    },
  });
  home.append(h('h2.unseen', null, 'Overview'), flow.element, charts.element, strip.element);
  return {
    update(world) {
      flow.update(world);
      charts.update(world);
      strip.update(world);
    },
    unmount: () => charts.unmount(),
  };
}
