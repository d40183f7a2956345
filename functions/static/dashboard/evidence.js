// What a gate shows: numbers beside champion and naive, what the rules found, where the model comes from.

import { html } from "../vendor/htm-preact.js";
import { useView } from "./api.js";
import { Chart, number, seconds } from "./charts.js";
import { Link } from "./router.js";
import { localTime } from "./times.js";
import { Badge, Facts, Notice, Pair, Table } from "./ui.js";

const VERDICTS = { better: "good", worse: "bad", "no difference": "wait", "not comparable": "warn" };
const METRICS = [
  ["mae", "Mean absolute error", 1],
  ["rmse", "Root mean square error", 1],
  ["skill", "Skill against naive", -1],
  ["coverage", "Interval coverage", 0],
];

export const Verdict = ({ comparison }) => html`<${Badge} tone=${VERDICTS[comparison.verdict] ?? "wait"}>${comparison.verdict}<//>`;

/** Candidate, champion and naive on one holdout; or the candidate's own backtest, where nothing is to be compared. */
export function Numbers({ evidence }) {
  const { comparison, candidate, champion } = evidence;
  const measured = comparison.candidate !== undefined;
  const columns = measured
    ? [[`candidate, model ${candidate.model}`, comparison.candidate], [`champion, model ${champion?.model}`, comparison.champion], ["naive forecast", comparison.naive]]
    : [[`candidate, model ${candidate.model}`, candidate.metrics], [`naive forecast${evidence.naive ? `, ${evidence.naive.replaceAll("_", " ")}` : ""}`, { mae: candidate.metrics.naive_mae }]];
  const rows = [...METRICS, ...(measured ? [] : [["r2", "R²", -1]])].filter(([name]) => columns.some(([, values]) => values[name] !== undefined));
  return html`<p><${Verdict} comparison=${comparison} /> ${comparison.reason}</p>
    <${Table} label="Errors" fit numbers head=${["", ...columns.map(([name]) => name)]}>
      ${rows.map(([name, title, better]) => {
        const values = columns.map(([, all]) => all[name]);
        const known = values.filter((value) => value !== undefined);
        const best = better && known.length > 1 ? (better > 0 ? Math.min : Math.max)(...known) : null;
        return html`<tr><th scope="row">${title}</th>${values.map((value) => html`<td class=${value === best ? "number best" : "number"}>${number(value)}${value === best && html`<span class="hidden"> (best)</span>`}</td>`)}</tr>`;
      })}
    <//>
    <p class="soft"><small>Errors in standard deviations of the target in the training window. ${measured ? `Both on the same hours, ${comparison.holdout?.replace("/", " to ")}, after both cutoffs${comparison.difference ? `; candidate minus champion ${comparison.difference}, 90 % certain` : ""}.` : "From the candidate's own backtest before its cutoff."}</small></p>`;
}

/** What the promotion rules found, and who has overridden it. */
export const Findings = ({ findings = [] }) =>
  findings.map((found) => html`<${Notice} tone=${found.blocks ? "bad" : "warn"}>
    <b>${found.blocks ? "Blocks this gate" : found.overridden ? "Overridden" : "Worth knowing"}:</b> ${found.says}
    ${found.overridden && html`<br />${found.overridden.by}: ${found.overridden.reason}`}
  <//>`);

const Node = ({ name, children, to }) => html`<li>${to ? html`<${Link} to=${to} class="node"><b>${name}</b><span>${children}</span><//>` : html`<div class="node"><b>${name}</b><span>${children}</span></div>`}</li>`;

/** Where the Delta commit is shown that somebody read; nowhere where nobody recorded it. */
export const commitAt = (table, version) => (version ?? "") !== "" && `commits/${version}${table ? `?table=${encodeURIComponent(table)}` : ""}`;

/** From the ETL's commit to the prediction, as a picture to click through. */
export const Lineage = ({ circuit, release, lineage, pair, run }) => html`<ol class="lineage" aria-label="Where it comes from">
  <${Node} name="Delta commit" to=${commitAt(lineage.table_id, lineage.delta_version)}>version ${lineage.delta_version ?? "?"}<br /><small>table ${(lineage.table_id ?? "").slice(0, 8)}</small><//>
  <${Node} name="Data asset" to=${`data/${release}`}>up to ${lineage.cutoff_date ?? lineage.data_asset_version}<//>
  <${Node} name="Training" to=${`releases/${release}?show=tags`}>commit ${(lineage.git_commit_sha ?? "").slice(0, 12)}<br /><small>pull request ${lineage.pr_number}</small><//>
  <${Node} name="Model" to=${`releases/${release}`}>${release}<br /><small>${(lineage.model_hash ?? "").slice(0, 12)}</small><//>
  ${pair && html`<${Node} name="Production" to=${`circuits/${circuit}`}><${Pair} pair=${pair} /><//>`}
  ${run && html`<${Node} name="Forecast" to=${`ledger?text=${circuit}`}>${run.day}<br /><small>Delta version ${run.delta_version}</small><//>`}
</ol>`;

/** The test inference's forecast over the last days' readings, and the champion's for the same hours. */
export function TestForecast({ release, test }) {
  const view = useView(`releases/${release}/test-series`, 0);
  const data = view.data;
  if (!data || data.test.length === 0) return html`<p class="soft">${view.error ? view.error.message : view.loading ? "Loading …" : "No test forecast is to be had."}</p>`;
  const line = (points) => points.map(([at, value]) => [seconds(at), value]);
  const lines = [
    { name: "measured", colour: "text", points: line(data.measured) },
    { name: "candidate's test forecast", colour: "series-1", points: line(data.test) },
    ...(data.serving.length ? [{ name: "what serves", colour: "series-2", dash: [6, 4], points: line(data.serving) }] : []),
  ];
  const measured = new Map(data.measured);
  const serving = new Map(data.serving.map(([at, value]) => [at, value]));
  return html`<${Chart} label=${`Test forecast of ${release} beside measured ${data.target}`} unit=${data.target} lines=${lines}
      band=${{ points: data.test.map(([at, , low, high]) => [seconds(at), low, high]) }}
      head=${["Hour", "Forecast", "Lower", "Upper", "Measured", "What serves"]}
      rows=${data.test.map(([at, value, low, high]) => [localTime(new Date(at)), number(value), number(low), number(high), number(measured.get(at)), number(serving.get(at))])} />
    <${Facts} facts=${[["Job", test.job], ["Rows", test.rows], ["File", html`<code>${test.output_uri}</code>`]]} />`;
}

/** What is recorded as JSON in a tag; nothing where it is none. */
export function recorded(tag) {
  try {
    return JSON.parse(tag ?? "null") ?? {};
  } catch {
    return {};
  }
}

const STEPS = [
  ["mae", "model", "series-1", undefined],
  ["persistence", "as the last hour", "series-2", [6, 4]],
  ["seasonal", "as the day before", "text", [2, 4]],
];

/** The backtest as a picture: how the error grows with the hours ahead, beside the naive forecasts. */
export function Backtest({ release, tags }) {
  const { step: steps, ...errors } = recorded(tags.backtest_steps);
  if (!Array.isArray(steps)) return html`<p class="soft">Training recorded no errors by hour ahead.</p>`;
  const lines = STEPS.filter(([name]) => errors[name]).map(([name, title, colour, dash]) => ({ name: title, colour, dash, points: steps.map((step, n) => [step, errors[name][n]]) }));
  return html`<${Chart} label=${`Backtest of ${release}: mean absolute error by hours ahead, beside naive forecasts`} unit="mae" across="Hours ahead" lines=${lines} reach=${[steps[0], steps.at(-1)]}
    head=${["Hours ahead", ...lines.map((line) => line.name)]} rows=${steps.map((step, n) => [step, ...lines.map((line) => number(line.points[n][1]))])} />`;
}

/** Settings as names and values, nested names joined by dots. */
const flat = (value, name = "") =>
  value !== null && typeof value === "object" && !Array.isArray(value) ? Object.entries(value).flatMap(([inner, one]) => flat(one, name ? `${name}.${inner}` : inner)) : [[name, [value].flat().join(", ")]];

/** Which of the candidate's circumstances differ from those of the model that serves. */
export function Changed({ candidate, champion }) {
  const [settings, former] = [candidate, champion].map((tags) => Object.fromEntries(flat(recorded(tags.training_settings)).filter(([name]) => name)));
  const known = Object.keys({ ...former, ...settings });
  const names = ["environment_version", "cutoff_date", "target_column", "forecast_horizon", ...(known.length ? known : ["hyperparameters_hash"]), "git_commit_sha", "pr_number", "pr_author", "delta_version", "table_id"];
  const [now, before] = [{ ...candidate, ...settings }, { ...champion, ...former }];
  const rows = names.filter((name) => now[name] !== before[name]);
  if (rows.length === 0) return html`<p>Nothing of what training records.</p>`;
  return html`<${Table} label="What changed" head=${["", "Champion", "Candidate"]}>
    ${rows.map((name) => html`<tr><th scope="row">${name.replaceAll("_", " ").replace(/^(hyperparameters|data filters)\./, "")}</th><td><code>${before[name] ?? "–"}</code></td><td><code>${now[name] ?? "–"}</code></td></tr>`)}
  <//>`;
}
