// Environment releases: what one would touch, how far it is wave by wave, what failed; halt, resume, roll back.

import { html } from "../../vendor/htm-preact.js";
import { useView } from "../api.js";
import { History } from "../history.js";
import { useRefusal } from "../me.js";
import { Link } from "../router.js";
import { Ago, Deadline, When } from "../times.js";
import { Badge, CircuitLink, Facts, Heading, Loaded, Notice, OrderButton, Pair, Phase, Section, Shape, Table, toneOf } from "../ui.js";

const ENDED = ["settled", "rolled back", "rejected", "expired", "failed", "errored", "superseded"];
const WAVES = ["updating canaries", "updating waves"];
const UNDOABLE = [...WAVES, "halted", "observing", "live"];
const SHOWN = 200;
const reasons = (reason) => ({ reason });

export default function Environments({ version }) {
  return version ? html`<${Environment} version=${version} />` : html`<${List} />`;
}

function List() {
  const view = useView("environments");
  return html`<div class="title"><${Heading}>Environments<//></div>
    <${Section} id="list" title="Releases of the environment, newest first"><${Loaded} view=${view}>${({ environments }) => environments.length === 0
      ? html`<p class="soft">None yet. A new version of the environment that the build registers becomes a release here: it is tested on every live model before anybody's production is touched.</p>`
      : html`<${Table} label="Environment releases" head=${["Version", "Stands", "Since", "Deadline", "Circuits", "Why"]}>
        ${environments.map((one) => html`<tr key=${one.id}><td><${Link} to=${`environments/${one.version}`}>${one.version}<//></td><td><${Phase} phase=${one.phase} /></td><td><${Ago} at=${one.since} /></td><td>${ENDED.includes(one.phase) ? "–" : html`<${Deadline} at=${one.deadline} />`}</td><td><${Counts} counts=${one.counts} /></td><td>${one.reason}</td></tr>`)}
      <//>`}<//><//>`;
}

const Counts = ({ counts }) => Object.entries(counts).map(([phase, count]) => html`<${Badge} tone=${toneOf(phase)}>${count} ${phase}<//> `);

function Environment({ version }) {
  const view = useView(`environments/${version}`, 5_000);
  const preview = useView(`environments/${version}/preview`, 0);
  const history = useView(`environments/${version}/history`, 10_000);
  const why = useRefusal();
  const again = () => [view, history].forEach((one) => one.refresh());
  const title = html`<p class="crumbs"><${Link} to="environments">Environments<//></p>`;
  if (view.error?.status === 404) return html`<div>${title}<${Heading}>${version}<//></div><${Notice}>There is no release of this version.<//><${Preview} view=${preview} />`;
  return html`<${Loaded} view=${view}>${(one) => {
    const order = (id, name, says, danger) => html`<${OrderButton} key=${id} why=${why} done=${again} kind=${danger ? "danger" : ""} order=${{ id, name, title: `${name} ${version}?`, says, verb: name, danger, path: `environments/${version}/${id}`, body: reasons }} />`;
    const ended = ENDED.includes(one.phase);
    const waves = history.data?.history.filter((line) => line.event === "WaveEnded").length;
    return html`
      <div>${title}<div class="title"><${Heading}>Environment ${version}<//><${Phase} phase=${one.phase} />
        <div class="buttons">
          ${one.approval && one.phase.startsWith("awaiting") && html`<${Link} class="action" to=${`approvals/${one.approval.id}`}>Evidence and answer<//>`}
          ${WAVES.includes(one.phase) && order("halt", "Halt", "No further wave begins; what is under way ends.")}
          ${one.phase === "errored" && order("retry", "Try again", "It goes on with the step that broke; what was tested and still holds is not tested again.")}
          ${one.phase === "rejected" && order("reopen", "Reopen", "It goes on from where it ended; say why that was wrong.")}
          ${one.phase === "expired" && order("ask-again", "Ask again", "People are asked once more, with what the fleet is now.")}
          ${one.phase === "halted" && order("resume", "Resume", "The waves go on from where they halted; the failures so far are accepted.")}
          ${UNDOABLE.includes(one.phase) && order("rollback", "Roll back", "Every circuit goes back to the environment that its update records.", true)}
        </div>
      </div></div>
      <${Section} id="progress" title="Progress"><div class="stack">
        <${Progress} release=${one} />
        <${Facts} facts=${[["Since", html`<${When} at=${one.since} />`], ["Deadline", !ended && one.deadline && html`<${When} at=${one.deadline} />`], ["Why", one.reason], ["Canaries", one.canaries.join(", ")], ["Waves have reached", one.cursor], ["Summary of the change", one.tags.change_summary], ["Waves ended", waves || ""], ["Failures accepted", one.forgiven || ""]]} />
        ${one.troubled.length > 0 && html`<${Notice} tone="bad"><b>In trouble:</b> ${one.troubled.map((circuit, n) => html`${n > 0 && ", "}<${CircuitLink} circuit=${circuit} />`)}<//>`}
      </div><//>
      <${Section} id="updates" title="Circuit by circuit">${Object.keys(one.updates).length === 0 ? html`<p class="soft">No circuit has heard of it yet.</p>` : html`<${Table} label="Circuit by circuit" head=${["Circuit", "Stands", "With it", "Before", "Why"]}>
        ${worstFirst(one.updates).slice(0, SHOWN).map(([circuit, update]) => html`<tr key=${circuit}><td><${CircuitLink} circuit=${circuit} /></td><td><${Phase} phase=${update.phase} />${!update.waved && html` <small class="soft">its turn has not come</small>`}</td><td><${Pair} pair=${update.pair} /></td><td><${Pair} pair=${update.previous} /></td><td>${update.reason}</td></tr>`)}
      <//>${Object.keys(one.updates).length > SHOWN && html`<p class="soft">${Object.keys(one.updates).length - SHOWN} more circuits.</p>`}`}<//>
      ${!ended && html`<${Preview} view=${preview} />`}
      <${Section} id="history" title="What happened"><${Loaded} view=${history}>${({ history: lines }) => html`<${History} lines=${lines} />`}<//><//>`;
  }}<//>`;
}

const BADLY = ["failed", "errored", "left", "rolled back"];
const worstFirst = (updates) => Object.entries(updates).sort(([, a], [, b]) => Number(BADLY.includes(b.phase)) - Number(BADLY.includes(a.phase)));

function Progress({ release }) {
  const total = Object.values(release.counts).reduce((sum, count) => sum + count, 0);
  const settled = ["done", "observing"].reduce((sum, phase) => sum + (release.counts[phase] ?? 0), 0);
  if (total === 0) return html`<p class="soft">No circuit was counted yet.</p>`;
  return html`<label>${settled} of ${total} circuits serve with it, as last counted<progress value=${settled} max=${total} /></label>
    <ul class="legend">${Object.entries(release.counts).map(([phase, count]) => html`<li><span class=${`badge ${toneOf(phase)}`}><${Shape} tone=${toneOf(phase)} />${count} ${phase}</span></li>`)}</ul>`;
}

/** Whom it would touch now, and whom it would leave, and why. */
function Preview({ view }) {
  return html`<${Section} id="preview" title="Whom it would touch now"><${Loaded} view=${view}>${({ touched, left }) => html`<div class="columns">
    <div><h3>${Object.keys(touched).length} circuits get it</h3><p>${Object.keys(touched).slice(0, SHOWN).map((circuit, n) => html`${n > 0 && ", "}<${CircuitLink} circuit=${circuit} />`)}</p></div>
    <div><h3>${Object.keys(left).length} are left</h3><ul>${Object.entries(left).slice(0, SHOWN).map(([circuit, why]) => html`<li><${CircuitLink} circuit=${circuit} />: ${why}</li>`)}</ul></div>
  </div>`}<//><//>`;
}
