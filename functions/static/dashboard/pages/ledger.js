// The ledger: how complete each day is, and days by circuits.

import { html, useEffect, useState } from "../../vendor/htm-preact.js";
import { useView } from "../api.js";
import { useRefusal } from "../me.js";
import { goWith } from "../router.js";
import { daysBefore, utcDay } from "../times.js";
import { CircuitLink, Heading, Loaded, OrderButton, Pager, Section, Shape, Table, toneOf } from "../ui.js";

const STATES = ["done", "late", "filled afterwards", "under way", "due", "missing", "failed"];
const SPAN = 7;

export default function Ledger({ query }) {
  const today = utcDay(new Date());
  const to = query.get("to") ?? today;
  const from = daysBefore(to, SPAN - 1);
  const plants = useView("overview/circuits?size=1", 0).data?.plants;
  const plant = query.get("plant") ?? (plants && isLarge(plants) ? plants[0].plant : "");
  const days = useView(plants ? `ledger/days?from=${from}&to=${to}${plant && `&plant=${plant}`}` : null, 30_000);
  const why = useRefusal();
  return html`<div class="title"><${Heading}>Ledger<//></div>
    <${Section} id="days" title="How complete each day is" aside=${html`<label>Plant <select value=${plant} onChange=${(event) => goWith({ plant: event.target.value })}>
        ${plants && !isLarge(plants) && html`<option value="">All plants</option>`}
        ${(plants ?? []).map((one) => html`<option value=${one.plant}>${one.plant}</option>`)}
      </select></label><label>Up to <input type="date" value=${to} max=${today} onChange=${(event) => goWith({ to: event.target.value === today ? "" : event.target.value })} /></label>`}>
      <${Loaded} view=${days}>${(found) => html`<${Table} label="Days" fit numbers head=${["Day (UTC)", "Expected", ...STATES, "Success", "On time", ""]}>
        ${[...found.days].reverse().map((day) => html`<tr key=${day.day}>
          <th scope="row">${day.day}</th><td class="number">${day.expected}</td>
          ${STATES.map((state) => html`<td class="number">${day.states[state] ? html`<span class=${`badge ${toneOf(state)}`}><${Shape} tone=${toneOf(state)} />${day.states[state]}</span>` : "–"}</td>`)}
          <td class="number">${percent(day.success_rate)}</td><td class="number">${percent(day.on_time_rate)}</td>
          <td>${(day.not_done.missing || day.not_done.failed) && html`<${OrderButton} why=${why} done=${days.refresh} order=${{
            id: `fill-${day.day}`,
            name: "Fill",
            title: `Score ${day.day} for every circuit without a forecast?`,
            says: `${(day.not_done.missing ?? []).length} missing, ${(day.not_done.failed ?? []).length} failed. Where a forecast stands nothing happens.`,
            verb: "Fill",
            path: "ledger/fill",
            body: (comment) => ({ day: day.day, comment }),
            reason: "Comment",
            least: 0,
          }} />`}</td>
        </tr>`)}
      <//>
      ${found.days.length === 0 && html`<p class="soft">No forecast was to be made in these days.</p>`}`}<//>
    <//>
    <${Matrix} query=${query} from=${from} to=${to} />`;
}

/** Whether the fleet is too large for all of its days to be counted while somebody waits. */
export const isLarge = (plants) => plants.reduce((sum, plant) => sum + plant.circuits, 0) > 300;

const percent = (rate) => (rate === null ? "–" : `${Math.floor(rate * 1000) / 10} %`);

function Matrix({ query, from, to }) {
  const chosen = { plant: query.get("plant") ?? "", text: query.get("text") ?? "" };
  const [pages, setPages] = useState([]);
  const [text, setText] = useState(chosen.text);
  useEffect(() => setPages([]), [chosen.plant, chosen.text]);
  useEffect(() => {
    const typed = setTimeout(() => text !== chosen.text && goWith({ text }), 300);
    return () => clearTimeout(typed);
  }, [text]);
  const wanted = new URLSearchParams({ from, to, size: 50, ...Object.fromEntries(Object.entries(chosen).filter(([, value]) => value)) });
  if (pages.length) wanted.set("continuation", pages.at(-1));
  const view = useView(`overview/days?${wanted}`, 30_000);
  const days = Array.from({ length: SPAN }, (_, n) => daysBefore(to, n));
  return html`<${Section} id="matrix" title="Days by circuits" aside=${html`<ul class="legend" aria-label="What the shapes say">${STATES.map((state) => html`<li><span class=${`badge ${toneOf(state)}`}><${Shape} tone=${toneOf(state)} />${state}</span></li>`)}</ul>`}>
    <form class="filters" role="search" onSubmit=${(event) => event.preventDefault()}>
      <label>Search<input type="search" value=${text} maxlength="100" onInput=${(event) => setText(event.target.value)} /></label>
    </form>
    <${Loaded} view=${view}>${({ circuits, continuation }) => html`
      <div class="scroll" tabindex="0" role="region" aria-label="Days by circuits"><table class="matrix fit">
        <thead><tr><th scope="col" class="first">Circuit</th>${days.map((day) => html`<th scope="col">${day.slice(5)}</th>`)}</tr></thead>
        <tbody>${circuits.map((one) => html`<tr key=${one.circuit}><th scope="row"><${CircuitLink} circuit=${one.circuit} /> <small class="soft">${one.name}</small></th>
          ${days.map((day) => {
            const state = one.days[day];
            return html`<td>${state ? html`<span class=${`cell ${toneOf(state)}`} title=${`${one.circuit}, ${day}: ${state}`}><${Shape} tone=${toneOf(state)} /><span class="hidden">${state}</span></span>` : html`<span class="soft" aria-label="not expected">·</span>`}</td>`;
          })}</tr>`)}</tbody>
      </table></div>
      <${Pager} pages=${pages} setPages=${setPages} next=${continuation} shown=${circuits.length > 0 && `${circuits[0].circuit} to ${circuits.at(-1).circuit}`} />`}<//>
  <//>`;
}
