// Approvals: every open gate, answered one by one on its evidence, or many at once with exceptions.

import { html, useContext, useEffect, useRef, useState } from "../../vendor/htm-preact.js";
import { post, useView } from "../api.js";
import { Backtest, Changed, Findings, Lineage, Numbers, TestForecast, Verdict } from "../evidence.js";
import { number } from "../charts.js";
import { Me, whyNotAnswer } from "../me.js";
import { Link } from "../router.js";
import { Ago, Deadline, When } from "../times.js";
import { Badge, CircuitLink, Empty, Facts, Failure, Heading, Loaded, Notice, OrderButton, Pager, Pair, ReleaseLink, Section, Table, announce } from "../ui.js";
import { History } from "../history.js";

export default function Approvals({ approval }) {
  return approval ? html`<${Gate} id=${approval} />` : html`<${Gates} />`;
}

const INTO = { registry: "registry", production: "production" };
const blocked = (approval) => (approval.evidence.findings ?? []).some((found) => found.blocks);
const whyNotApprove = (me, approval) =>
  whyNotAnswer(me, approval) || (blocked(approval) ? "Blocked by a promotion rule." : "") || (approval.would_not_count ? `Your approval would not count: ${approval.would_not_count}.` : "");

function Gates() {
  const me = useContext(Me);
  const [pages, setPages] = useState([]);
  const [answers, setAnswers] = useState({});
  const [results, setResults] = useState(null);
  const view = useView(`approvals?size=50${pages.length ? `&continuation=${pages.at(-1)}` : ""}`);
  const open = view.data?.approvals ?? [];
  const chosen = open.filter((one) => answers[one.id]);
  const choose = (id, decision) => setAnswers({ ...answers, [id]: decision });
  const approvable = open.filter((one) => !whyNotApprove(me, one));
  return html`<div class="title"><${Heading}>Approvals<//></div>
    ${results && html`<${Results} results=${results} close=${() => setResults(null)} />`}
    <${Section} id="open" title="Open gates" aside=${approvable.length > 1 && html`<button onClick=${() => setAnswers(Object.fromEntries(approvable.map((one) => [one.id, "approve"])))}>Approve all ${approvable.length} I may</button>`}>
      <${Loaded} view=${view}>${({ continuation }) => html`
        ${open.length === 0 && html`<${Empty}>Nobody is asked for anything.<//>`}
        ${open.length > 0 && html`<${Table} label="Open gates" head=${["Gate", "Against the champion", "MAE", "Naive", "Asked", "Ends", "Your answer"]}>
          ${open.map((one) => html`<${GateRow} key=${one.id} one=${one} me=${me} answer=${answers[one.id] ?? ""} choose=${(decision) => choose(one.id, decision)} />`)}
        <//>`}
        <${Pager} pages=${pages} setPages=${(to) => { setAnswers({}); setPages(to); }} next=${continuation} />`}<//>
    <//>
    ${chosen.length > 0 && html`<${Batch} chosen=${chosen} answers=${answers} done=${(told) => { setResults(told); setAnswers({}); view.refresh(); }} />`}`;
}

function GateRow({ one, me, answer, choose }) {
  const why = whyNotAnswer(me, one);
  const soft = !why && whyNotApprove(me, one);
  const { evidence } = one;
  const metrics = evidence.candidate?.metrics ?? {};
  return html`<tr>
    <td><${Link} to=${`approvals/${one.id}`}>${one.release}<//><span class="soft">into ${INTO[one.gate]}</span></td>
    <td>${evidence.comparison ? html`<${Verdict} comparison=${evidence.comparison} />` : "an environment"}${blocked(one) && html` <${Badge} tone="bad">blocked<//>`}</td>
    <td class="number">${number(evidence.comparison?.candidate?.mae ?? metrics.mae)}</td>
    <td class="number">${number(evidence.comparison?.naive?.mae ?? metrics.naive_mae)}</td>
    <td><${Ago} at=${one.requested_at} /><span class="soft">by ${one.trained_by || "nobody known"}</span></td>
    <td><${Deadline} at=${one.expires_at} /></td>
    <td>${why ? html`<small>${why}</small>` : html`<select aria-label=${`Answer to ${one.release} into ${one.gate}`} value=${answer} onChange=${(event) => choose(event.target.value)}>
      <option value="">leave open</option><option value="approve" disabled=${Boolean(soft)}>approve</option><option value="reject">reject</option>
    </select>${soft && html`<span class="soft"><small>${soft}</small></span>`}`}</td>
  </tr>`;
}

/** One comment and one sending for many answers. */
function Batch({ chosen, answers, done }) {
  const [comment, setComment] = useState("");
  const [sending, setSending] = useState(false);
  const [error, setError] = useState(null);
  const request = useRef(crypto.randomUUID());
  const count = (decision) => chosen.filter((one) => answers[one.id] === decision).length;
  const send = async (event) => {
    event.preventDefault();
    if (count("reject") > 0 && comment.trim().length < 3) return setError({ title: "Not sent", message: "Say in the comment why you reject." });
    setSending(true);
    try {
      const gates = chosen.map((one) => ({ approval: one.id, digest: one.digest, decision: answers[one.id] }));
      done(await post("approvals/batch", { decision: "approve", comment: comment.trim(), gates }, request.current));
      announce("The answers were sent; each has a result of its own.");
    } catch (failed) {
      setError(failed);
      setSending(false);
    }
  };
  return html`<${Section} id="batch" title=${`Answer ${chosen.length} together`}>
    <form class="stack" onSubmit=${send}>
      <p>${count("approve")} approved, ${count("reject")} rejected. Each is recorded by itself, on the evidence shown in the list.</p>
      <label>Comment, kept in each history<textarea rows="2" maxlength="1000" value=${comment} onInput=${(event) => setComment(event.target.value)} /></label>
      ${error && html`<${Failure} error=${error} />`}
      <div class="buttons"><button class="primary" disabled=${sending}>${sending ? "Sending …" : `Send ${chosen.length} answers`}</button></div>
    </form>
  <//>`;
}

const Results = ({ results, close }) => html`<${Section} id="results" title="What became of your answers" aside=${html`<button class="plain" onClick=${close}>Close</button>`}>
  <${Table} label="Results" head=${["Gate", "Result", "Note"]}>
    ${results.results.map((one) => html`<tr key=${one.approval}><td>${one.approval}</td><td><${Badge} tone=${one.status >= 300 ? "bad" : one.counts ? "good" : "warn"}>${one.status >= 300 ? "not taken" : one.counts ? "recorded" : "does not count"}<//></td><td>${one.note || one.recorded.map((moved) => moved.phase).join(", ")}</td></tr>`)}
  <//>
<//>`;

function Gate({ id }) {
  const view = useView(`approvals/${encodeURIComponent(id)}`, 8_000);
  const release = id.split(":").slice(0, -2).join(":");
  if (view.error?.status === 404) return html`<${Closed} id=${id} release=${release} />`;
  return html`<${Loaded} view=${view}>${(approval) => html`<${Open} approval=${approval} refresh=${view.refresh} />`}<//>`;
}

/** The gate is closed: what became of the release, and who answered. */
function Closed({ id, release }) {
  const environment = release.startsWith("sensor-forecast-env:");
  const history = useView(environment ? `environments/${release.split(":")[1]}/history` : `releases/${encodeURIComponent(release)}/history`);
  const lines = (history.data?.history ?? []).filter((line) => line.detail.approval === id || line.detail.digest);
  return html`<div class="title"><${Heading} title=${id}>${release}<//></div>
    <${Notice} tone="busy">This gate is not open: somebody has answered it, it was asked anew, or its time ran out. <${Link} to="approvals">Open gates<//> · ${environment ? html`<${Link} to=${`environments/${release.split(":")[1]}`}>the environment's release<//>` : html`<${Link} to=${`releases/${release}`}>the release<//>`}<//>
    <${Section} id="answers" title="What happened at its gates"><${History} lines=${lines} /><//>`;
}

function Open({ approval, refresh }) {
  const me = useContext(Me);
  const [seen, setSeen] = useState(approval);
  const changed = seen.digest !== approval.digest;
  const { evidence } = seen;
  const model = Boolean(evidence.lineage); // an environment has none
  const candidate = useView(model ? `releases/${encodeURIComponent(approval.release)}` : null, 0);
  const champion = useView(model && evidence.champion ? `releases/${approval.circuit}:${evidence.champion.model}` : null, 0);
  return html`<div>
      <p class="crumbs"><${Link} to="approvals">Approvals<//></p>
      <div class="title"><${Heading}>${approval.release} into the ${approval.gate === "registry" ? "registry" : "production workspace"}<//><${Badge} tone="person">open<//></div>
    </div>
    ${changed && html`<${Notice} tone="warn"><b>The evidence has changed since you opened this page.</b> Read it again before you answer. <button onClick=${() => setSeen(approval)}>Show what is there now</button><//>`}
    ${evidence.hold && html`<${Notice} tone="warn"><b>On hold</b> by ${evidence.hold.by} since <${Ago} at=${evidence.hold.since} />: ${evidence.hold.why}. It enters production once the hold is lifted.<//>`}
    <${Findings} findings=${evidence.findings} />
    <div class="columns">
      <${Section} id="about" title="What is asked">
        <div class="stack">
        <${Facts} facts=${[
          ["Circuit", model ? html`<${CircuitLink} circuit=${approval.circuit} />` : "the whole fleet"],
          ["Release", model ? html`<${ReleaseLink} release=${approval.release} />` : html`<${Link} to=${`environments/${evidence.candidate.environment}`}>${approval.release}<//>`],
          ["Candidate", model && html`<${Pair} pair=${evidence.candidate} />`],
          ["Serves now", model && html`<${Pair} pair=${evidence.champion} />`],
          ["Trained by", evidence.trained_by ?? approval.trained_by],
          ["Asked", html`<${When} at=${approval.requested_at} />`],
          ["Ends", html`<${When} at=${approval.expires_at} />`],
          ["Who answers", approval.requirement.map((groups) => groups.join(" or ")).join(", and ")],
          ["Rollback plan", evidence.rollback ?? (model ? "not in production yet: nothing to roll back" : "")],
        ]} />
        ${approval.answers.length > 0 && html`<h3>Answers so far</h3><ul>${approval.answers.map((one) => html`<li>${one.person.name} (${one.person.groups.join(", ")}): ${one.decision}${one.comment && html`<br /><span class="soft">${one.comment}</span>`}</li>`)}</ul>`}
        </div>
      <//>
      <${Decide} approval=${seen} changed=${changed} me=${me} refresh=${refresh} />
    </div>
    ${model && html`<${Section} id="errors" title="How good it is"><div class="stack"><${Numbers} evidence=${evidence} />
        ${candidate.data && html`<h3>Backtest: error by hours ahead</h3><${Backtest} release=${approval.release} tags=${candidate.data.tags} />`}</div><//>
      ${candidate.data?.test?.output_uri && html`<${Section} id="test" title="Test inference"><${TestForecast} release=${approval.release} test=${candidate.data.test} /><//>`}
      ${champion.data && candidate.data && html`<${Section} id="changed" title="What changed since the champion"><${Changed} candidate=${candidate.data.tags} champion=${champion.data.tags} /><//>`}
      <${Section} id="lineage" title="Where it comes from"><${Lineage} circuit=${approval.circuit} release=${approval.release} lineage=${evidence.lineage} /><//>`}
    ${!model && html`<${Section} id="evidence" title="What it would do"><${Plain} value=${{ live_now: evidence.live, preview: evidence.preview, tests: evidence.tests, tags: evidence.candidate.tags }} /><//>`}
    <details><summary>The evidence as it is approved, digest ${seen.digest.slice(0, 12)} …</summary><pre tabindex="0">${JSON.stringify(evidence, null, 2)}</pre></details>`;
}

function Decide({ approval, changed, me, refresh }) {
  const [comment, setComment] = useState("");
  const [lift, setLift] = useState(false);
  const [sending, setSending] = useState("");
  const [error, setError] = useState(null);
  const [told, setTold] = useState("");
  const never = whyNotAnswer(me, approval);
  const notApprove = whyNotApprove(me, approval);
  useEffect(() => setError(null), [approval.digest]);
  const decide = async (decision) => {
    if (decision === "reject" && comment.trim().length < 3) return setError({ title: "Not sent", message: "Say in the comment why you reject." });
    setSending(decision);
    setError(null);
    try {
      const answer = await post(`approvals/${encodeURIComponent(approval.id)}`, { decision, digest: approval.digest, comment: comment.trim(), lift_hold: lift });
      setTold((answer.counts ? "" : "Recorded, but it does not count: ") + answer.note || answer.recorded.map((line) => `recorded; now ${line.phase}`).join(", ") || "It was recorded before.");
      announce(`${decision === "approve" ? "Approved" : "Rejected"}: ${approval.release}.`);
    } catch (failed) {
      setError(failed.status === 409 ? { title: "Somebody was faster", message: failed.message } : failed);
    }
    setSending("");
    refresh();
  };
  return html`<${Section} id="decide" title="Your answer">
    ${never && html`<${Notice} tone="person">${never}<//>`}
    ${!never && html`<div class="stack">
      ${notApprove && html`<${Notice} tone="person">${notApprove}<//>`}
      <label>Comment, kept in the history<textarea rows="3" maxlength="1000" value=${comment} onInput=${(event) => setComment(event.target.value)} /></label>
      ${approval.evidence.hold && html`<label class="check"><input type="checkbox" checked=${lift} onChange=${(event) => setLift(event.target.checked)} /> lift the hold as well</label>`}
      ${error && html`<${Failure} error=${error} />`}
      ${told && html`<${Notice} tone="good">${told}<//>`}
      <div class="buttons">
        <button class="primary" disabled=${Boolean(sending) || changed || Boolean(notApprove)} onClick=${() => decide("approve")}>${sending === "approve" ? "Sending …" : "Approve"}</button>
        <button class="danger" disabled=${Boolean(sending) || changed} onClick=${() => decide("reject")}>${sending === "reject" ? "Sending …" : "Reject"}</button>
      </div>
    </div>`}
    ${blocked(approval) && html`<div class="stack"><${OrderButton} kind="danger" done=${refresh} order=${{
      id: "override",
      name: "Override what blocks it",
      title: `Override what blocks ${approval.release}?`,
      says: "The gate is asked again, and everybody who answers it is shown your name and reason. It is no approval.",
      path: `approvals/${encodeURIComponent(approval.id)}/override`,
      body: (reason) => ({ digest: approval.digest, reason }),
      verb: "Override",
      danger: true,
      least: 10,
    }} /></div>`}
  <//>`;
}

/** Any document, as nested names and values. */
export const Plain = ({ value }) => {
  if (value === null || value === "" || value === undefined) return html`<span class="none">none</span>`;
  if (Array.isArray(value)) return value.length ? html`<ul>${value.map((one) => html`<li><${Plain} value=${one} /></li>`)}</ul>` : html`<span class="none">none</span>`;
  if (typeof value === "object") return html`<${Facts} facts=${Object.entries(value).map(([name, one]) => [name.replaceAll("_", " "), html`<${Plain} value=${one} />`])} />`;
  return String(value);
};
