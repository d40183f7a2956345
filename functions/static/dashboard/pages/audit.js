// Audit: who did what when, and what served a circuit at a time, from which data, approved by whom.

import { html, useState } from "../../vendor/htm-preact.js";
import { useView } from "../api.js";
import { Lineage } from "../evidence.js";
import { words } from "../history.js";
import { Link, goWith } from "../router.js";
import { Time, When, utcDay } from "../times.js";
import { Badge, CircuitLink, Facts, Heading, Loaded, Pager, Pair, Phase, ReleaseLink, Section, Table } from "../ui.js";

export default function Audit({ query }) {
  const today = utcDay(new Date());
  const date = query.get("date") ?? "";
  const [pages, setPages] = useState([]);
  const parts = [date && `date=${date}`, pages.length && `continuation=${encodeURIComponent(pages.at(-1))}`].filter(Boolean);
  const view = useView(`audit?size=50${parts.map((part) => `&${part}`).join("")}`);
  return html`<div class="title"><${Heading}>Audit<//></div>
    <${Section} id="acts" title="Who did what" aside=${html`<label>Up to the end of <input type="date" value=${date} max=${today} onChange=${(event) => { setPages([]); goWith({ date: event.target.value }); }} /></label>`}>
      <${Loaded} view=${view}>${({ acts, continuation }) => html`
        ${acts.length === 0 ? html`<p class="soft">Nobody did anything${date && ` up to ${date}`}.</p>` : html`<${Table} label="Who did what" head=${["When", "Who", "What", "About", "Said", "Moved"]}>
          ${acts.map((one) => html`<tr key=${`${one.at}${one.by}${one.act}${one.root}`}>
            <td><${Time} at=${one.at} /></td><td class="whole">${one.by}</td>
            <td>${one.decision ? html`<${Answer} act=${one} />` : words(one.act)}</td>
            <td><${About} act=${one} /></td>
            <td>${one.comment || one.reason}${one.note && html`<span class="soft">${one.note}</span>`}</td>
            <td>${one.moved.map((moved) => html`<div><small>${moved.item.split(/[!@~]/).length > 1 ? moved.item : ""}</small> <${Phase} phase=${moved.after} /></div>`)}</td>
          </tr>`)}
        <//>`}
        <${Pager} pages=${pages} setPages=${setPages} next=${continuation} />`}<//>
    <//>
    <${AsOf} query=${query} today=${today} />`;
}

/** An answer to a gate; an approval that did not count is none. */
const Answer = ({ act }) => act.counts
  ? html`<${Badge} tone=${act.decision === "approve" ? "good" : "bad"}>${act.decision === "approve" ? "approved" : "rejected"}<//>`
  : html`<${Badge} tone="warn">approved, does not count<//>`;

function About({ act }) {
  const item = act.approval.split(":").slice(0, -2).join(":") || act.moved[0]?.item || act.root;
  if (/^[A-Za-z0-9]+_[A-Za-z0-9]+:[0-9]+$/.test(item)) return html`<${ReleaseLink} release=${item} />`;
  if (/^[A-Za-z0-9]+_[A-Za-z0-9]+$/.test(act.root)) return html`<${CircuitLink} circuit=${act.root} />`;
  const environment = /^sensor-forecast-env:([^!]+)/.exec(item);
  return environment ? html`<${Link} to=${`environments/${environment[1]}`}>${item}<//>` : item;
}

/** What served a circuit on a day, and why. */
function AsOf({ query, today }) {
  const circuit = query.get("circuit") ?? "";
  const day = query.get("day") ?? today;
  const [typed, setTyped] = useState(circuit);
  const asked = /^[A-Za-z][A-Za-z0-9]{0,6}_[A-Za-z][A-Za-z0-9]{0,12}$/.test(circuit);
  const view = useView(asked ? `circuits/${circuit}/as-of?date=${day}` : null, 0);
  return html`<${Section} id="as-of" title="What served on a day">
    <form class="filters" onSubmit=${(event) => { event.preventDefault(); goWith({ circuit: typed.trim() }); }}>
      <label>Circuit<input value=${typed} placeholder="P001_C001" maxlength="21" onInput=${(event) => setTyped(event.target.value)} /></label>
      <label>Day (UTC)<input type="date" value=${day} max=${today} onChange=${(event) => goWith({ day: event.target.value })} /></label>
      <button>Show</button>
    </form>
    ${circuit && !asked && html`<p class="soft">A circuit is called like P001_C001.</p>`}
    ${asked && (view.error?.status === 404 ? html`<p class="soft">${view.error.message}</p>` : html`<${Loaded} view=${view}>${(one) => html`<div class="stack">
      <${Facts} facts=${[
        ["Served", html`<${Pair} pair=${one.pair} />`],
        ["Since", html`<${When} at=${one.since} />`],
        ["Put there by", one.served_by],
        ["Before it", html`<${Pair} pair=${one.previous} />`],
        ["Trained by", one.release?.trained_by],
      ]} />
      ${one.release && html`<h3>Approved by</h3><${Table} label="Answers" head=${["When", "Who", "Answer", "Comment", "Evidence"]}>
        ${one.release.answers.map((answer) => html`<tr><td><${Time} at=${answer.at} /></td><td class="whole">${answer.person}</td><td>${answer.decision}<span class="soft">${answer.approval}</span></td><td>${answer.comment}</td><td><code>${answer.digest?.slice(0, 12)}</code></td></tr>`)}<//>
        <h3>Where it came from</h3><${Lineage} circuit=${circuit} release=${one.release.id} lineage=${one.release.data} pair=${one.pair} />`}
      <h3>Scorings of the day</h3>
      ${one.scorings_of_the_day.length === 0 ? html`<p class="soft">None ended that day.</p>` : html`<${Table} label="Scorings of the day" head=${["Run", "Stands", "Model", "Delta version", "File"]}>
        ${one.scorings_of_the_day.map((run) => html`<tr><td>${run.id}</td><td><${Phase} phase=${run.phase} /></td><td>${run.pair?.model}</td><td>${run.delta_version}</td><td><code>${run.published_uri}</code></td></tr>`)}<//>`}
    </div>`}<//>`)}
  <//>`;
}
