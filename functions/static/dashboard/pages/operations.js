// Operations: stop and freeze, holds, dead letters with replay, the sweep and the queue.

import { html, useState } from "../../vendor/htm-preact.js";
import { useView } from "../api.js";
import { History } from "../history.js";
import { useRefusal } from "../me.js";
import { Ago, When, localTime } from "../times.js";
import { Badge, CircuitLink, Empty, Facts, Heading, Loaded, Notice, OrderButton, Pager, Section, Table } from "../ui.js";

const SLOW_MS = 120_000;
const reasons = (reason) => ({ reason });

export default function Operations() {
  return html`<div class="title"><${Heading}>Operations<//></div>
    <div class="columns"><${Standstill} /><${Machinery} /></div>
    <${Held} />
    <${DeadLetters} />
    <${Sent} />`;
}

function Standstill() {
  const view = useView("fleet", 10_000);
  const why = useRefusal();
  return html`<${Section} id="standstill" title="Production"><${Loaded} view=${view}>${({ standstill, stops }) => {
    const stopped = stops.find((stop) => stop.phase === "standing");
    return html`<div class="stack">
      ${standstill ? html`<${Notice} tone="warn">No release enters production: ${standstill}<//>` : html`<${Notice} tone="good">Releases may enter production.<//>`}
      <div class="buttons">${stopped
        ? html`<${OrderButton} why=${why} done=${view.refresh} kind="primary" order=${{ id: "go", name: "Let the fleet go on", title: "Let the fleet go on?", says: "What is ready goes on into production within half an hour.", verb: "Go on", path: "fleet/resume", body: reasons, told: "The fleet goes on." }} />`
        : html`<${OrderButton} why=${why} done=${view.refresh} kind="danger" order=${{ id: "stop", name: "Stop the fleet", title: "Stop the whole fleet?", says: "No release enters any production. Approvals may be given, what is under way ends, scoring and rollbacks go on.", verb: "Stop the fleet", danger: true, path: "fleet/stop", body: reasons, told: "The fleet is stopped." }} />`}</div>
      ${stops.length > 0 && html`<details><summary>${stops.length} ${stops.length === 1 ? "stop" : "stops"} so far</summary>${stops.slice(0, 20).map((stop) => html`<h3>${localTime(new Date(stop.created_at))}, ${stop.by}: ${stop.why}</h3><${History} lines=${stop.history} />`)}</details>`}
    </div>`;
  }}<//><//>`;
}

function Machinery() {
  const view = useView("backlog", 5_000);
  return html`<${Section} id="machinery" title="Sweep and queue" aside=${view.data && html`as of <${Ago} at=${view.data.at} />`}><${Loaded} view=${view}>${(one) => {
    const oldest = [one.outbox.oldest, one.due.oldest].filter(Boolean).sort()[0];
    const slow = oldest && Date.parse(one.at) - Date.parse(oldest) > SLOW_MS;
    return html`<div class="stack">
      ${slow ? html`<${Notice} tone="bad">What is due is not sent: the oldest has waited since <${When} at=${oldest} />. Look whether the function sweep runs.<//>` : html`<${Notice} tone="good">The sweep keeps up.<//>`}
      <${Facts} facts=${[
        ["On the queue (about)", one.queue.waiting],
        ["In the outbox", one.outbox.waiting],
        ["Overdue", one.due.waiting],
        ...one.slots.map((slot) => [`${slot.kind} slots`, html`${slot.holders.length} of ${slot.limit}${slot.holders.length > 0 && html`<details><summary>held by</summary><ul>${slot.holders.map((holder) => html`<li><code>${holder}</code></li>`)}</ul></details>`}`]),
      ]} />
    </div>`;
  }}<//><//>`;
}

function Held() {
  const view = useView("overview/needs");
  const why = useRefusal();
  return html`<${Section} id="holds" title="Circuits on hold"><${Loaded} view=${view}>${({ holds }) => holds.length === 0 ? html`<${Empty}>None.<//>` : html`
    <${Table} label="Circuits on hold" head=${["Circuit", "By", "Why", "Since", ""]}>
      ${holds.map((one) => html`<tr key=${one.id}><td><${CircuitLink} circuit=${one.circuit} /></td><td>${one.by}</td><td>${one.why}</td><td><${Ago} at=${one.since} /></td>
        <td><${OrderButton} why=${why} done=${view.refresh} order=${{ id: `lift-${one.circuit}`, name: "Lift", title: `Lift the hold of ${one.circuit}?`, says: "What is ready goes on into production.", verb: "Lift", path: `circuits/${one.circuit}/resume`, body: reasons }} /></td></tr>`)}
    <//>`}<//><//>`;
}

function DeadLetters() {
  const [pages, setPages] = useState([]);
  const view = useView(`dead-letters?size=20${pages.length ? `&continuation=${pages.at(-1)}` : ""}`);
  const why = useRefusal();
  return html`<${Section} id="dead-letters" title="Dead letters"><${Loaded} view=${view}>${({ dead_letters: letters, continuation }) => html`
    ${letters.length === 0 ? html`<${Empty}>Nothing was lost or refused.<//>` : html`<${Table} label="Dead letters" head=${["When", "From", "Why it was not taken", "What it is", ""]}>
      ${letters.map((letter) => html`<tr key=${letter.id}>
        <td><${Ago} at=${letter.at} /></td><td>${letter.source}</td><td>${letter.reason}</td>
        <td><details><summary>show</summary><pre tabindex="0">${letter.body ? JSON.stringify(letter.body, null, 2) : letter.cut ? `${letter.cut} … (${letter.characters} characters)` : "It is long and lies in a document."}</pre></details></td>
        <td>${letter.replayed_at ? html`<${Badge} tone="good">replayed<//><span class="soft">by ${letter.replayed_by}: ${letter.replay_result}</span>` : html`<${OrderButton} why=${why} done=${view.refresh} order=${{ id: `replay-${letter.id}`, name: "Replay", title: "Try it again?", says: letter.reason, verb: "Replay", reason: "", path: `dead-letters/${letter.id}/replay`, body: () => ({}), told: "Replayed." }} />`}</td>
      </tr>`)}
    <//>`}
    <${Pager} pages=${pages} setPages=${setPages} next=${continuation} />`}<//><//>`;
}

/** ETL and what is told to every circuit. */
function Sent() {
  const view = useView("lake/explain", 30_000);
  return html`<${Section} id="lake" title="ETL, upkeep and what is told to every circuit">
    ${view.error?.status === 404 ? html`<p class="soft">No ETL run and no commit yet.</p>` : html`<${Loaded} view=${view}>${({ under_way: standing }) => standing.length === 0 ? html`<${Empty}>Nothing is under way.<//>` : html`
      <${Table} label="Under way" head=${["What", "Stands", "Since", "Waits for"]}>
        ${standing.map((one) => html`<tr key=${one.item}><td>${one.item}<span class="soft">${one.kind}</span></td><td>${one.phase}</td><td><${Ago} at=${one.since} /></td><td>${one.waits_for}</td></tr>`)}<//>`}<//>`}
  <//>`;
}
