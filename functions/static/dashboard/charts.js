// Charts over time, drawn by uPlot in the page's own colours, each with the same numbers as a table.

import uPlot from "../vendor/uplot.js";
import { html, useEffect, useRef } from "../vendor/htm-preact.js";
import { localTime } from "./times.js";

const HEIGHT = 250;

/** One of the style sheet's colours as it is now, in light or in dark. */
function colour(name) {
  const asked = document.body.appendChild(document.createElement("i"));
  asked.style.color = `var(--${name})`;
  const found = getComputedStyle(asked).color;
  asked.remove();
  return found;
}

export const number = (value) => (value === null || value === undefined ? "–" : Number(value).toLocaleString("en", { maximumSignificantDigits: 4 }));

/** Lines of [time, value] and a band of [time, low, high] on one axis of times; all times as seconds. */
function aligned(lines, band) {
  const times = [...new Set([...lines.flatMap((line) => line.points), ...(band?.points ?? [])].map(([at]) => at))].sort((a, b) => a - b);
  const place = new Map(times.map((at, n) => [at, n]));
  const column = (points, value) => {
    const filled = new Array(times.length).fill(null);
    for (const point of points) filled[place.get(point[0])] = value(point);
    return filled;
  };
  const columns = lines.map((line) => column(line.points, (point) => point[1]));
  if (band) columns.push(column(band.points, (point) => point[2]), column(band.points, (point) => point[1]));
  return [times, ...columns];
}

/** A moment on the axis: the clock within a day, the day at its beginning. */
function ticks(_, splits, __, ___, step) {
  const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
  const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
  let before = "";
  return splits.map((at) => {
    const moment = new Date(at * 1000);
    const named = day.format(moment);
    const text = step >= 86_400 ? named : named === before ? clock.format(moment) : `${clock.format(moment)}\n${named}`;
    before = named;
    return text;
  });
}

function options(width, { unit, lines, band, marks, reach, across }) {
  const axis = { stroke: colour("soft"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line") } };
  const bounds = band ? ["upper bound", "lower bound"].map((label) => ({ label, stroke: "transparent", points: { show: false }, value: (_, value) => number(value) })) : [];
  return {
    width,
    height: HEIGHT,
    scales: { x: { time: !across, range: (_, first, last) => [reach?.[0] ?? first, Math.max(reach?.[1] ?? last, first + (across ? 1 : 3_600))] } },
    cursor: { y: false },
    axes: [across ? { ...axis, label: across, labelSize: 18 } : { ...axis, values: ticks }, { ...axis, size: 60, label: unit, labelSize: 18 }],
    series: [
      { label: across ?? "Time", value: (_, at) => (at ? (across ? at : localTime(new Date(at * 1000))) : "–") },
      ...lines.map((line) => ({
        label: line.name,
        stroke: colour(line.colour),
        width: 2,
        dash: line.dash,
        points: { show: line.dots ?? false, size: 7 },
        value: (_, value) => number(value),
      })),
      ...bounds,
    ],
    bands: band ? [{ series: [lines.length + 1, lines.length + 2], fill: colour("band") }] : [],
    hooks: {
      draw: [
        (chart) => {
          const { ctx, bbox } = chart;
          ctx.save();
          ctx.strokeStyle = ctx.fillStyle = colour("person");
          ctx.setLineDash([4, 4]);
          ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
          for (const { at, text } of marks) {
            const x = chart.valToPos(at, "x", true);
            if (x < bbox.left || x > bbox.left + bbox.width) continue;
            ctx.beginPath();
            ctx.moveTo(x, bbox.top);
            ctx.lineTo(x, bbox.top + bbox.height);
            ctx.stroke();
            const right = x > bbox.left + bbox.width * 0.9;
            ctx.textAlign = right ? "right" : "left";
            ctx.fillText(text, x + (right ? -4 : 4) * devicePixelRatio, bbox.top + 12 * devicePixelRatio);
          }
          ctx.restore();
        },
      ],
    },
  };
}

/**
 * `label` says in words what the picture shows; `rows` and `head` are the same as a table; `reach`: first and last second.
 * `across`: what is along the axis where that is not time.
 */
export function Chart({ label, unit, lines, band, marks = [], reach, across, head, rows }) {
  const place = useRef(null);
  const told = JSON.stringify([lines, band, marks, unit, reach]);
  useEffect(() => {
    let chart;
    const draw = () => {
      chart?.destroy();
      chart = new uPlot(options(place.current.clientWidth, { unit, lines, band, marks, reach, across }), aligned(lines, band), place.current);
    };
    const resize = new ResizeObserver(() => chart?.setSize({ width: place.current.clientWidth, height: HEIGHT }));
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    draw();
    resize.observe(place.current);
    scheme.addEventListener("change", draw);
    addEventListener("dashboard:theme", draw);
    return () => {
      resize.disconnect();
      scheme.removeEventListener("change", draw);
      removeEventListener("dashboard:theme", draw);
      chart.destroy();
    };
  }, [told]);
  return html`<figure class="figure">
    <div class="chart" ref=${place} role="img" aria-label=${label} />
    <details><summary>As a table</summary>
      <div class="scroll" tabindex="0" role="region" aria-label=${`${label} as a table`}><table>
        <thead><tr>${head.map((name) => html`<th scope="col">${name}</th>`)}</tr></thead>
        <tbody>${rows.map((row) => html`<tr>${row.map((cell) => html`<td>${cell}</td>`)}</tr>`)}</tbody>
      </table></div>
    </details>
  </figure>`;
}

export const seconds = (at) => Date.parse(at) / 1000;
