// A release: where it stands, what may be done with it, and everything that happened to it.

import { html, useEffect } from "../../vendor/htm-preact.js";
import { useView } from "../api.js";
import { Backtest, Lineage, TestForecast } from "../evidence.js";
import { History } from "../history.js";
import { useRefusal } from "../me.js";
import { Link } from "../router.js";
import { When } from "../times.js";
import { CircuitLink, Facts, Heading, Loaded, OrderButton, Pair, Phase, Section } from "../ui.js";
import { Plain } from "./approvals.js";

const ENDED = ["live", "rejected", "expired", "failed", "errored", "superseded", "cancelled", "rolled back"];
const CANCELLABLE = ["registered", "awaiting registry approval", "promoting", "promoting environment", "waiting for test", "deploying to test", "testing", "awaiting production approval", "ready"];
const ORDERS = [
  { id: "cancel", name: "Cancel", when: (phase) => CANCELLABLE.includes(phase), danger: true, says: "It is taken back before production; its gate is withdrawn, its test job stopped." },
  { id: "retry", name: "Retry", when: (phase) => phase === "errored", says: "It goes on, in a new attempt of the step that broke." },
  { id: "reopen", name: "Reopen", when: (phase) => phase === "rejected" || phase === "cancelled", says: "It goes on from where it ended. Say why that was wrong." },
  { id: "ask-again", name: "Ask again", when: (phase) => phase === "expired", says: "People are asked about it once more." },
];

export default function Release({ release, query }) {
  const view = useView(`releases/${encodeURIComponent(release)}`);
  const history = useView(`releases/${encodeURIComponent(release)}/history`);
  const why = useRefusal();
  const again = () => {
    view.refresh();
    history.refresh();
  };
  const asked = query.get("show");
  useEffect(() => {
    if (asked && view.data) document.getElementById(asked)?.scrollIntoView();
  }, [asked, Boolean(view.data)]);
  return html`<${Loaded} view=${view}>${(one) => html`
    <div>
      <p class="crumbs"><${CircuitLink} circuit=${one.circuit} /></p>
      <div class="title"><${Heading}>${one.id}<//><${Phase} phase=${one.phase} />
        <div class="buttons">
          ${one.approval && !ENDED.includes(one.phase) && one.phase.startsWith("awaiting") && html`<${Link} to=${`approvals/${one.approval.id}`} class="action">Evidence and answer<//>`}
          ${ORDERS.filter((order) => order.when(one.phase)).map((order) => html`<${OrderButton} key=${order.id} why=${why} done=${again} kind=${order.danger ? "danger" : ""} order=${{
            ...order,
            title: `${order.name} ${one.id}?`,
            verb: order.name,
            path: `releases/${encodeURIComponent(one.id)}/${order.id}`,
            body: (reason) => ({ reason }),
          }} />`)}
        </div>
      </div>
    </div>
    <${Section} id="stands" title="Where it stands"><${Facts} facts=${[
      ["Since", html`<${When} at=${one.since} />`],
      ["Deadline", one.deadline && html`<${When} at=${one.deadline} />`],
      ["Why", one.reason],
      ["Environment", one.environment],
      ["Compared with", one.champion && html`<${Pair} pair=${one.champion} />`],
      ["Replaced", one.previous && html`<${Pair} pair=${one.previous} />`],
      ["Trained by", one.trainer],
      ["Successor", one.successor && html`<${Link} to=${`releases/${one.successor}`}>${one.successor}<//>`],
      ["Operation", one.operation?.reference && html`<code>${one.operation.reference}</code>`],
    ]} /><//>
    ${one.tags.backtest_steps && html`<${Section} id="backtest" title="Backtest: error by hours ahead"><${Backtest} release=${one.id} tags=${one.tags} /><//>`}
    <${Section} id="lineage" title="Where it comes from"><${Lineage} circuit=${one.circuit} release=${one.id} lineage=${one.tags} /><//>
    ${one.test?.output_uri && html`<${Section} id="test" title="Test inference"><${TestForecast} release=${one.id} test=${one.test} /><//>`}
    <div class="columns">
      <${Section} id="history" title="What happened"><${Loaded} view=${history}>${({ history: lines }) => html`<${History} lines=${lines} />`}<//><//>
      <${Section} id="tags" title="What training recorded"><${Plain} value=${one.tags} /><//>
    </div>`}<//>`;
}
