// A circuit: what serves and what is to come side by side, forecasts against what was measured, and its whole life.

import { html, useState } from "../../vendor/htm-preact.js";
import { download, useView } from "../api.js";
import { Chart, number, seconds } from "../charts.js";
import { Lineage, commitAt } from "../evidence.js";
import { History } from "../history.js";
import { useRefusal } from "../me.js";
import { Link } from "../router.js";
import { Deadline, Time, When, daysBefore, localTime, utcDay } from "../times.js";
import { Badge, Empty, Failure, Heading, Loaded, Notice, OrderButton, Pair, Phase, ReleaseLink, Section, Table } from "../ui.js";
import { Alerts, Proposals } from "./fleet.js";

const ENDED = ["live", "rejected", "expired", "failed", "errored", "superseded", "cancelled", "rolled back"];

export default function Circuit({ circuit }) {
  const view = useView(`circuits/${circuit}`);
  const releases = useView(`circuits/${circuit}/releases`);
  const orders = useView(`circuits/${circuit}/orders`);
  const again = () => [view, releases, orders].forEach((one) => one.refresh());
  if (view.error?.status === 404 && !view.data)
    return html`<div class="title"><${Heading}>${circuit}<//></div><${Notice}>Nothing was heard of ${circuit}: no reading and no model. If the configuration has it, it begins with the first ETL run that covers its sensor, or with its first training; if not, there is no such circuit.<//>`;
  return html`<${Loaded} view=${view}>${(one) => {
    const hold = one.open.find((item) => item.id.includes("!hold."));
    const candidate = releases.data?.releases.find((release) => !ENDED.includes(release.phase) && release.version !== one.serving?.model);
    return html`
      <div>
        <p class="crumbs"><${Link} to=${`?plant=${circuit.split("_")[0]}`}>${circuit.split("_")[0]}<//></p>
        <div class="title"><${Heading}>${circuit}<//>
          ${one.serving ? html`<${Badge} tone=${one.verified ? "good" : "busy"}>model ${one.serving.model} serves<//>` : html`<${Badge} tone="wait">nothing serves<//>`}
          ${hold && html`<${Badge} tone="warn">on hold<//>`}
          <${Actions} circuit=${one} hold=${hold} done=${again} />
        </div>
      </div>
      ${hold && html`<${Notice} tone="warn"><b>On hold</b> by ${hold.by}: ${hold.why} (<${When} at=${hold.since} />)<//>`}
      <${Trouble} circuit=${one} done=${again} />
      <${Sides} circuit=${one} candidate=${candidate} />
      <${Forecasts} circuit=${circuit} serving=${one.serving} />
      <div class="columns">
        <${Explained} circuit=${circuit} />
        <${Days} circuit=${circuit} />
      </div>
      <${Monitoring} circuit=${circuit} />
      <div class="columns">
        <${Section} id="releases" title="Releases"><${Loaded} view=${releases}>${({ releases: all }) => all.length === 0 ? html`<p class="soft">None yet.</p>` : html`
          <${Table} label="Releases" head=${["Release", "Stands", "Since", "Why"]}>
            ${all.slice(0, 25).map((release) => html`<tr key=${release.id}><td><${ReleaseLink} release=${release.id} /></td><td><${Phase} phase=${release.phase} /></td><td><${Time} at=${release.since} /></td><td>${release.reason}</td></tr>`)}
          <//>`}<//><//>
        <${Section} id="orders" title="Rollbacks, holds, discrepancies"><${Loaded} view=${orders}>${({ orders: all }) => all.length === 0 ? html`<${Empty}>None.<//>` : html`<div class="stack">
          ${all.slice(0, 10).map((order) => html`<details key=${order.id}><summary>${order.id.split("!")[1].replace(".", " ")} · ${order.phase} · ${localTime(new Date(order.created_at))}</summary><${History} lines=${order.history} /></details>`)}
        </div>`}<//><//>
      </div>`;
  }}<//>`;
}

/** Its alerts, and what it is offered because of them. */
function Trouble({ circuit, done }) {
  const alerts = circuit.open.filter((item) => item.cause).map((item) => ({ ...item, root: circuit.id }));
  const offered = circuit.open.filter((item) => item.remedy);
  if (alerts.length + offered.length === 0) return null;
  return html`<${Section} id="trouble" title="Needs somebody now"><ul class="needs">
    <${Alerts} alerts=${alerts} severity="critical" tone="bad" refresh=${done} />
    <${Proposals} offered=${offered} refresh=${done} />
    <${Alerts} alerts=${alerts} severity="warning" tone="warn" refresh=${done} />
  </ul><//>`;
}

function Actions({ circuit, hold, done }) {
  const why = useRefusal();
  const [version, setVersion] = useState("");
  const reasons = (reason) => ({ reason });
  const serving = circuit.serving;
  const choices = circuit.proved.filter(({ pair }) => pair.model !== serving?.model || pair.environment !== serving?.environment);
  return html`<div class="buttons">
    ${hold
      ? html`<${OrderButton} why=${why} done=${done} order=${{ id: "resume", name: "Lift the hold", title: `Lift the hold of ${circuit.id}?`, says: "What is ready goes on into production.", verb: "Lift", path: `circuits/${circuit.id}/resume`, body: reasons }} />`
      : html`<${OrderButton} why=${why} done=${done} order=${{ id: "hold", name: "Hold", title: `Put ${circuit.id} on hold?`, says: "No release enters production until it is lifted; what is under way ends.", verb: "Hold", path: `circuits/${circuit.id}/hold`, body: reasons }} />`}
    ${circuit.serving && html`<${OrderButton} why=${why} done=${done} kind="danger" order=${{
      id: "rollback",
      name: "Roll back",
      title: `Roll ${circuit.id} back?`,
      says: choices.length ? `Model ${serving.model} on ${serving.environment} is taken out of production at once, model ${choices[0].pair.model} on ${choices[0].pair.environment} serves${choices.length > 1 ? " unless you choose another" : ""}, and the circuit is put on hold.` : `No other pair has proved itself: nothing would serve, and scoring would be suspended.`,
      verb: "Roll back",
      danger: true,
      path: `circuits/${circuit.id}/rollback`,
      body: (reason) => ({ reason, ...(version && { version: Number(version) }) }),
      told: "Rollback: begun.",
      fields: choices.length > 1 && html`<label>Back to<select value=${version} onChange=${(event) => setVersion(event.target.value)}>
        <option value="">the last that proved itself (model ${choices[0].pair.model})</option>
        ${choices.map((proved) => html`<option value=${proved.pair.model}>model ${proved.pair.model} on ${proved.pair.environment}</option>`)}
      </select></label>`,
    }} />`}
  </div>`;
}

/** Champion and candidate, side by side. */
function Sides({ circuit, candidate }) {
  const served = useView(circuit.serving ? `releases/${circuit.id}:${circuit.serving.model}` : null, 60_000);
  const coming = useView(candidate ? `releases/${candidate.id}` : null);
  const sides = [
    ["Champion", served.data],
    ["Candidate", coming.data],
  ].filter(([, release]) => release);
  if (sides.length === 0) return html`<${Section} id="sides" title="Champion and candidate"><p class="soft">Nothing serves, and nothing is on its way.</p><//>`;
  const serves = (one) => one.id.endsWith(`:${circuit.serving?.model}`);
  const rows = [
    ["Release", (one) => html`<${ReleaseLink} release=${one.id} />`],
    ["Stands", (one) => html`<${Phase} phase=${one.phase} />`],
    ["Since", (one) => html`<${When} at=${serves(one) ? circuit.serving_since : one.since} />`],
    ["Deadline", (one) => !ENDED.includes(one.phase) && html`<${Deadline} at=${one.deadline} />`],
    ["Environment", (one) => (serves(one) ? circuit.serving.environment : one.environment)],
    ["Trained on readings up to", (one) => one.tags.cutoff_date],
    ["Trained by", (one) => one.trainer],
    ["Backtest's mae, in sd of the target", (one) => number(one.tags.mae)],
    ["Naive forecast's", (one) => number(one.tags.naive_mae)],
    ["Skill", (one) => number(one.tags.skill)],
    ["Interval coverage", (one) => number(one.tags.interval_coverage)],
    ["Against what served then", (one) => one.tags.comparison],
  ];
  return html`<${Section} id="sides" title="Champion and candidate" aside=${candidate?.phase.startsWith("awaiting") && coming.data?.approval && html`<${Link} to=${`approvals/${coming.data.approval.id}`}>Evidence and answer<//>`}>
    <${Table} label="Champion and candidate" fit head=${["", ...sides.map(([name]) => name)]}>
      ${rows
        .filter(([, show]) => sides.some(([, one]) => show(one)))
        .map(([name, show]) => html`<tr><th scope="row">${name}</th>${sides.map(([, one]) => html`<td>${show(one) || "–"}</td>`)}</tr>`)}
    <//>
    <p class="soft"><small>Backtest errors are of each model's own days. Both on the same hours: on the candidate's gate.</small></p>
  <//>`;
}

const SPANS = [3, 7, 14, 31];

function Forecasts({ circuit, serving }) {
  const [days, setDays] = useState(7);
  const today = utcDay(new Date());
  const view = useView(`circuits/${circuit}/series?from=${daysBefore(today, days - 1)}&to=${today}`, 60_000);
  const choice = html`<label>Days <select value=${days} onChange=${(event) => setDays(Number(event.target.value))}>${SPANS.map((span) => html`<option value=${span}>${span}</option>`)}</select></label>`;
  return html`<${Section} id="forecasts" title="Forecast and what was measured" aside=${choice}>
    <${Loaded} view=${view}>${(data) => html`<${Pictures} data=${data} circuit=${circuit} serving=${serving} />`}<//>
  <//>`;
}

function Pictures({ data, circuit, serving }) {
  if (data.measured.length === 0 && data.forecasts.length === 0) return html`<p class="soft">No readings and no forecasts in these days.</p>`;
  const points = new Map(data.forecasts.flatMap((one) => one.points.map((point) => [point[0], point])));
  const ordered = [...points.values()].sort((a, b) => seconds(a[0]) - seconds(b[0]));
  const measured = new Map(data.measured);
  const marks = data.changes.map((change) => ({ at: seconds(change.since), text: change.pair ? `model ${change.pair.model} on ${change.pair.environment}` : "nothing" }));
  const lines = [
    { name: "measured", colour: "text", points: data.measured.map(([at, value]) => [seconds(at), value]) },
    { name: "forecast", colour: "series-1", points: ordered.map(([at, value]) => [seconds(at), value]) },
  ];
  const errors = data.forecasts.filter((one) => one.mae !== null);
  const newest = data.forecasts.at(-1);
  const shown = lines.flatMap((line) => line.points.map(([at]) => at));
  const reach = [Math.min(...shown), Math.max(...shown)];
  return html`<div class="stack">
    <${Chart} label=${`Forecast of ${data.target} with its interval, beside what was measured`} unit=${data.target} lines=${lines} marks=${marks} reach=${reach}
      band=${{ points: ordered.map(([at, , low, high]) => [seconds(at), low, high]) }}
      head=${["Hour", "Forecast", "Lower", "Upper", "Measured"]}
      rows=${ordered.slice(-72).map(([at, value, low, high]) => [localTime(new Date(at)), number(value), number(low), number(high), number(measured.get(at))])} />
    ${errors.length > 0 && html`<h3>Error of each day's forecast, in the unit of ${data.target}</h3>
    <${Chart} label="Mean absolute error of each day, with model changes marked" unit="mae" marks=${marks} reach=${reach}
      lines=${[{ name: "mean absolute error", colour: "series-2", dots: true, points: errors.map((one) => [seconds(`${one.day}T00:00Z`), one.mae]) }]}
      head=${["Day", "Model", "Mean absolute error", "Within the interval", "Hours"]}
      rows=${errors.map((one) => [one.day, one.pair?.model, number(one.mae), one.coverage === null ? "–" : `${Math.round(one.coverage * 100)} %`, one.hours])} />`}
    ${newest && serving && html`<${NewestLineage} circuit=${circuit} forecast=${newest} />`}
  </div>`;
}

/** From the newest forecast back to the readings that its model learned from. */
function NewestLineage({ circuit, forecast }) {
  const release = useView(forecast.pair ? `releases/${circuit}:${forecast.pair.model}` : null, 0);
  const days = useView(`circuits/${circuit}/ledger?from=${forecast.day}&to=${forecast.day}`, 0);
  const run = days.data?.days.flatMap((day) => day.runs).find((one) => one.run === forecast.run);
  return release.data && html`<h3>Where the newest forecast comes from</h3>
    <${Lineage} circuit=${circuit} release=${release.data.id} lineage=${release.data.tags} pair=${forecast.pair} run=${{ day: forecast.day, delta_version: run?.delta_version }} />`;
}

function Explained({ circuit }) {
  const view = useView(`circuits/${circuit}/explain`);
  return html`<${Section} id="explain" title="Where it stands, and what comes next"><${Loaded} view=${view}>${(found) => html`<div class="stack">
    <ul>${found.state.map((line) => html`<li>${line}</li>`)}</ul>
    ${found.under_way.map((one) => html`<details key=${one.item} open=${one.kind === "release"}>
      <summary>${one.item}: ${one.phase}</summary>
      <p>Waits for ${one.waits_for}. ${one.who_can_act.length > 0 && `Who can act: ${one.who_can_act.join(", ")}.`} ${one.deadline && html`Until <${Time} at=${one.deadline} />.`}</p>
      <details><summary>${one.ways.length} ways on</summary><${Table} label=${`Ways on for ${one.item}`} head=${["If", "By", "Then"]}>${one.ways.map((way) => html`<tr><td>${way.means}</td><td>${way.told_by}</td><td>${way.leads_to}</td></tr>`)}<//></details>
    </details>`)}
  </div>`}<//><//>`;
}

function Days({ circuit }) {
  const today = utcDay(new Date());
  const view = useView(`circuits/${circuit}/ledger?from=${daysBefore(today, 13)}&to=${today}`, 30_000);
  const why = useRefusal();
  return html`<${Section} id="days" title="The last 14 days"><${Loaded} view=${view}>${({ days }) => days.length === 0 ? html`<p class="soft">No forecast was to be made.</p>` : html`
    <${Table} label="The last 14 days" head=${["Day (UTC)", "Stands", "Model", "Delta", "Told", ""]}>
      ${[...days].reverse().map((day) => {
        const run = day.runs.find((one) => one.run === day.published_run) ?? day.runs.at(-1);
        return html`<tr key=${day.day}><td>${day.day}</td><td><${Phase} phase=${day.state} />${day.retried && html` <small>retried</small>`}</td><td>${run?.pair?.model ?? "–"}</td><td>${run?.delta_version == null ? "–" : html`<${Link} to=${commitAt(run.table, run.delta_version)}>${run.delta_version}<//>`}</td><td>${run?.reason}${run && html`<span class="soft"><${Time} at=${run.since} /></span>`}</td>
          <td>${!why && html`<${OrderButton} done=${view.refresh} order=${{ id: `score-${day.day}`, name: "Score", title: `Score ${day.day} with what serves now?`, says: "The new forecast replaces the one that stands; what was published is kept beside it.", verb: "Score", path: `circuits/${circuit}/scorings`, body: (comment) => ({ day: day.day, comment }), least: 0, reason: "Comment" }} />`}</td></tr>`;
      })}
    <//>${why && html`<p class="soft"><small>${why}</small></p>`}`}<//><//>`;
}

const KINDS = [
  ["performance", "Performance"],
  ["drift", "Drift"],
  ["drift_warnings", "Early warning of drift"],
];
const VERDICTS = { ok: "good", steady: "good", warning: "warn", critical: "bad", drifted: "bad" };

/** What monitoring says of the model that serves, period by period, with the page about each. */
function Monitoring({ circuit }) {
  const view = useView(`circuits/${circuit}/monitoring`, 60_000);
  const [error, setError] = useState(null);
  if (view.error?.status === 404) return null;
  const save = (check) => download(`circuits/${circuit}/checks/${encodeURIComponent(check.split("!")[1])}/report`, `${check.replace("!", " ")}.html`).catch(setError);
  return html`<${Section} id="monitoring" title="Performance and drift">
    ${error && html`<${Failure} error=${error} />`}
    <${Loaded} view=${view}>${(found) => html`<div class="stack">
      ${found.standing.map((one) => html`<${Notice} tone="bad"><b>${one.features ? "Drifted" : "Degraded"}</b> since <${When} at=${one.since} />${one.features?.length > 0 && `: ${one.features.join(", ")}`}${one.reason && `: ${one.reason}`}<//>`)}
      ${KINDS.every(([name]) => found[name].length === 0) ? html`<p class="soft">Nothing was looked at yet.</p>` : html`<${Table} label="Verdicts" fit head=${["What", "Period", "Verdict", "Model", ""]}>
        ${KINDS.flatMap(([name, title]) => found[name].slice(0, 4).map((one) => html`<tr key=${one.check}><th scope="row">${title}</th><td>${one.period}</td><td><${Badge} tone=${VERDICTS[one.verdict] ?? "wait"}>${one.verdict}<//></td><td>${one.model ?? "–"}</td><td>${one.shown_at ? html`<a href=${one.shown_at}>In AzureML<span class="hidden">: ${title}, ${one.period}</span></a>` : html`<button onClick=${() => save(one.check)}>Report<span class="hidden"> of ${title}, ${one.period}</span></button>`}</td></tr>`))}
      <//>`}
    </div>`}<//>
  <//>`;
}
