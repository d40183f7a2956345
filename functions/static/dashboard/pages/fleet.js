// The fleet: what needs a person now, then every circuit at a glance.

import { html, useEffect, useState } from "../../vendor/htm-preact.js";
import { download, useView } from "../api.js";
import { useRefusal } from "../me.js";
import { Link, goWith } from "../router.js";
import { Ago, Deadline, utcDay } from "../times.js";
import { Badge, CircuitLink, Empty, Failure, Heading, Loaded, OrderButton, Pager, Phase, ReleaseLink, Section, Shape } from "../ui.js";
import { isLarge } from "./ledger.js";

const SHOWN = [
  ["", "All circuits"],
  ["under way", "Under way"],
  ["waits for people", "Waiting for people"],
  ["held", "On hold or differing"],
  ["alerted", "With an alert"],
];
const MOST = 12;

export default function Fleet({ query }) {
  const today = utcDay(new Date());
  const needs = useView("overview/needs");
  const alerts = useView("alerts?size=50");
  const proposals = useView("proposals?size=50", 30_000);
  const plants = useView("overview/circuits?size=1", 0).data?.plants;
  const days = useView(plants && !isLarge(plants) ? `ledger/days?from=${today}&to=${today}` : null, 60_000); // else alerts tell
  return html`<div class="title"><${Heading}>Fleet<//></div>
    <${Section} id="needs" title="Needs somebody now" aside=${needs.data && html`as of <${Ago} at=${needs.data.at} />`}>
      <${Loaded} view=${needs}>${(found) => html`<${Needs} needs=${found} alerts=${alerts.data?.alerts} refresh=${alerts.refresh} proposals=${proposals} days=${days.data} />`}<//>
    <//>
    <${Glances} query=${query} />`;
}

/** One kind of need; more than a few are folded away behind a count. */
function Need({ tone, name, items, line, side, named = (item) => item.id, more }) {
  const [open, setOpen] = useState(false);
  if (items.length === 0) return null;
  const shown = open ? items : items.slice(0, MOST);
  return html`${shown.map((item) => html`<li key=${named(item)}>
      <span><${Badge} tone=${tone}>${name}<//></span><span>${line(item)}</span><span class="side">${side?.(item)}</span>
    </li>`)}
    ${items.length > shown.length && html`<li><span /><button class="plain" onClick=${() => setOpen(true)}>${items.length - shown.length} more: ${name}</button></li>`}
    ${more}`;
}

function Needs({ needs, alerts = [], refresh, proposals, days }) {
  const today = days?.days[0];
  const undone = Object.entries(today?.not_done ?? {}).filter(([state]) => state === "missing" || state === "failed");
  const offered = proposals.data?.proposals ?? [];
  const lists = [offered, needs.approvals, needs.went_wrong, needs.slow, needs.holds, needs.discrepancies, needs.rollbacks, alerts, undone];
  if (lists.every((list) => list.length === 0))
    return html`<${Empty}>Nothing does. ${needs.under_way ? `${needs.under_way} release${needs.under_way > 1 ? "s" : ""} under way.` : ""}<//>`;
  const since = (item) => html`since <${Ago} at=${item.since} />`;
  return html`<ul class="needs">
    <${Alerts} alerts=${alerts} severity="critical" tone="bad" refresh=${refresh} />
    <${Need} tone="bad" name="differs" items=${needs.discrepancies} side=${since}
      line=${(one) => html`<${CircuitLink} circuit=${one.circuit} /> production serves something else than is recorded`} />
    <${Need} tone="bad" name="no forecast" items=${undone} named=${([state]) => state} side=${() => html`<${Link} to="ledger">Ledger<//>`}
      line=${([state, circuits]) => html`today ${state} for ${circuits.slice(0, 8).map((circuit, n) => html`${n > 0 && ", "}<${CircuitLink} circuit=${circuit} />`)}${circuits.length > 8 && ` and ${circuits.length - 8} more`}`} />
    <${Need} tone="person" name="approval" items=${needs.approvals}
      line=${(one) => html`<${Link} to=${`approvals/${one.id}`}>${one.release}<//> into ${one.gate === "registry" ? "the registry" : "production"}`}
      side=${(one) => html`asked <${Ago} at=${one.requested_at} />, ends <${Deadline} at=${one.expires_at} />`}
      more=${needs.more_approvals && html`<li><span /><${Link} to="approvals">More approvals<//></li>`} />
    <${Proposals} offered=${offered} refresh=${proposals.refresh} />
    <${Need} tone="bad" name="went wrong" items=${needs.went_wrong} side=${(one) => html`<${Phase} phase=${one.phase} /> <${Ago} at=${one.since} />`}
      line=${(one) => html`<${ReleaseLink} release=${one.id} /> ${one.reason}`} />
    <${Need} tone="warn" name="slow" items=${needs.slow} side=${(one) => html`ends <${Deadline} at=${one.deadline} />`}
      line=${(one) => html`<${ReleaseLink} release=${one.id} /> is still ${one.phase}, since <${Ago} at=${one.since} />`} />
    <${Need} tone="warn" name="on hold" items=${needs.holds} side=${since}
      line=${(one) => html`<${CircuitLink} circuit=${one.circuit} /> by ${one.by}: ${one.why}`} />
    <${Need} tone="busy" name="rollback" items=${needs.rollbacks} side=${since}
      line=${(one) => html`<${CircuitLink} circuit=${one.circuit} /> goes back: ${one.reason}`} />
    <${Alerts} alerts=${alerts} severity="warning" tone="warn" refresh=${refresh} />
  </ul>`;
}

export function Alerts({ alerts, severity, tone, refresh }) {
  const why = useRefusal();
  const [error, setError] = useState(null);
  const acknowledge = (one) => html`<${OrderButton} done=${refresh} order=${{
    id: one.id,
    name: "I look after it",
    title: one.reason,
    says: "It is not told again for a while, and everybody sees that you look after it.",
    verb: "I look after it",
    path: `alerts/${encodeURIComponent(one.key)}/acknowledge`,
    body: (reason) => ({ reason }),
  }} />`;
  const save = (one) => download(one.evidence.report.replace(/^api\//, ""), `${one.key.replace(":", " ")}.html`).catch(setError);
  if (error) return html`<${Failure} error=${error} />`;
  return html`<${Need} tone=${tone} name=${severity} items=${alerts.filter((one) => one.severity === severity)}
    line=${(one) => html`${one.circuit && html`<${CircuitLink} circuit=${one.root} />: `}${one.reason}${one.count > 1 && ` (${one.count} times)`}`}
    side=${(one) => html`<${Ago} at=${one.created_at} />${one.evidence.report && html` <button onClick=${() => save(one)}>Report<span class="hidden"> about ${one.key}</span></button>`}${one.acknowledged_by ? html`, ${one.acknowledged_by} looks after it` : !why && html` ${acknowledge(one)}`}`} />`;
}

/** What a degraded circuit is to get, to be accepted or declined; or its change, to be merged where it lies. */
export function Proposals({ offered, refresh }) {
  const why = useRefusal();
  const order = (one, id, name, says) => html`<${OrderButton} done=${refresh} order=${{ id: `${id}-${one.id}`, name, title: `${one.circuit}: ${one.remedy}?`, says, verb: name, path: `proposals/${encodeURIComponent(one.id)}/${id}`, body: (reason) => ({ reason }) }} />`;
  return html`<${Need} tone="person" name="proposal" items=${offered}
    line=${(one) => html`<${CircuitLink} circuit=${one.circuit} />: ${one.remedy} (model ${one.model})
      <details><summary>Why</summary><pre class="prose" tabindex="0">${one.analysis}</pre></details>`}
    side=${(one) => html`<${Phase} phase=${one.phase} /> ${one.change_at ? html`<code>${one.change_at}</code>` : !why && one.phase === "offered" && html`${order(one, "accept", "Accept", "What is proposed begins.")} ${order(one, "decline", "Decline", "The alert stays until its cause is over.")}`}`} />`;
}

function Glances({ query }) {
  const chosen = { plant: query.get("plant") ?? "", text: query.get("text") ?? "", show: query.get("show") ?? "" };
  const [pages, setPages] = useState([]);
  const [text, setText] = useState(chosen.text);
  useEffect(() => setPages([]), [chosen.plant, chosen.text, chosen.show]);
  useEffect(() => {
    const typed = setTimeout(() => text !== chosen.text && goWith({ text }), 300);
    return () => clearTimeout(typed);
  }, [text]);
  const wanted = new URLSearchParams({ size: 60, ...Object.fromEntries(Object.entries(chosen).filter(([, value]) => value)) });
  if (pages.length) wanted.set("continuation", pages.at(-1));
  const view = useView(`overview/circuits?${wanted}`);
  const plants = view.data?.plants ?? [];
  const total = plants.reduce((sum, plant) => sum + plant.circuits, 0);
  return html`<${Section} id="circuits" title="Circuits" aside=${total > 0 && `${total} in ${plants.length} plants`}>
    <form class="filters" role="search" onSubmit=${(event) => event.preventDefault()}>
      <label>Search<input type="search" value=${text} maxlength="100" placeholder="P001_C0 or a name" onInput=${(event) => setText(event.target.value)} /></label>
      <label>Plant<select value=${chosen.plant} onChange=${(event) => goWith({ plant: event.target.value })}>
        <option value="">All plants</option>
        ${plants.map(({ plant, circuits }) => html`<option value=${plant}>${plant} (${circuits})</option>`)}
      </select></label>
      <label>Show<select value=${chosen.show} onChange=${(event) => goWith({ show: event.target.value })}>
        ${SHOWN.map(([value, name]) => html`<option value=${value}>${name}</option>`)}
      </select></label>
    </form>
    <${Loaded} view=${view}>${({ circuits, continuation }) => html`
      ${circuits.length === 0 && html`<p class="empty">No circuit is like that.</p>`}
      ${byPlant(circuits).map(([plant, own]) => html`<div class="plant" key=${plant}>
        <h3>${plant}</h3>
        <ul class="tiles">${own.map((one) => html`<li key=${one.circuit}><${Tile} glance=${one} /></li>`)}</ul>
      </div>`)}
      <${Pager} pages=${pages} setPages=${setPages} next=${continuation} shown=${circuits.length && `${circuits[0].circuit} to ${circuits.at(-1).circuit}`} />`}<//>
  <//>`;
}

const byPlant = (circuits) => [...circuits.reduce((plants, one) => plants.set(one.plant, [...(plants.get(one.plant) ?? []), one]), new Map())];
const WORDS = { good: "well", busy: "under way", person: "waits for people", wait: "waits", warn: "look at it", bad: "wrong", none: "not begun" };

function Tile({ glance }) {
  const { circuit, name, health, serving, says, days } = glance;
  const newest = Object.entries(days).filter(([, state]) => ["done", "late", "filled afterwards"].includes(state)).at(-1)?.[0];
  return html`<${Link} to=${`circuits/${circuit}`} class=${`tile ${health}`}>
    <span class="name"><span>${circuit}</span><span><${Shape} tone=${health} /><span class="hidden">${WORDS[health]}</span></span></span>
    ${name && html`<span class="line">${name}</span>`}
    <span class="line strong">${serving ? html`model ${serving.model}${!glance.verified && ", not proved yet"}` : "serves nothing"}${newest && ` · forecast of ${newest.slice(5)}`}</span>
    ${says.filter((text) => text !== "nothing serves").slice(0, 2).map((text) => html`<span class="line">${text}</span>`)}
  <//>`;
}
