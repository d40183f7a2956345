// A Delta commit: rows and files, whose readings it brought, and the verdict on them.

import { html, useState } from "../../vendor/htm-preact.js";
import { useView } from "../api.js";
import { Link } from "../router.js";
import { Time, When } from "../times.js";
import { CircuitLink, Facts, Heading, Loaded, Notice, Pager, Phase, Section, Table } from "../ui.js";

export default function Commit({ version, query }) {
  const [pages, setPages] = useState([]);
  const table = query.get("table");
  const wanted = new URLSearchParams({ size: 50, ...(table && { table }), ...(pages.length && { continuation: pages.at(-1) }) });
  const view = useView(`lake/commits/${version}?${wanted}`, 0);
  const title = html`<div><p class="crumbs"><${Link} to="operations">Operations<//></p><${Heading}>Delta version ${version}<//></div>`;
  if (view.error?.status === 404) return html`${title}<${Notice}>${view.error.message}<//>`;
  return html`${title}<${Loaded} view=${view}>${(one) => html`
    <${Section} id="commit" title="What the log says"><${Facts} facts=${[
      ["Operation", one.operation],
      ["Written", one.at && html`<${When} at=${one.at} />`],
      ["Files added", one.files_added],
      ["Files removed", one.files_removed],
      ["Changed data", one.data_changed ? "yes" : "no: it starts nothing"],
      ["Table", html`<code>${one.table_id}</code>`],
      ["ETL run", one.run],
    ]} /><//>
    <${Section} id="report" title="What its ETL run reports">${!one.reported
      ? html`<p class="soft">Nothing: it is no commit of an ETL run of ours, or its report is gone.</p>`
      : html`<${Facts} facts=${[
          ["Rows inserted", one.rows_inserted],
          ["Rows updated", one.rows_updated],
          ["Days (UTC)", one.first_date && `${one.first_date} to ${one.last_date}`],
          ["Rejected", one.rejected],
          ["Unknown sensors", one.unknown_sensors?.join(", ")],
          ["Circuits touched", one.touched],
        ]} />`}<//>
    ${one.circuits.length > 0 && html`<${Section} id="circuits" title="Circuit by circuit">
      <${Table} label="Circuit by circuit" head=${["Circuit", "Sensor", "Rows", "First", "Newest in the table", "Readings", "Why"]}>
        ${one.circuits.map((circuit) => html`<tr key=${circuit.circuit}><td><${CircuitLink} circuit=${circuit.circuit} /></td><td>${circuit.sensor}</td><td>${circuit.rows}</td><td><${Time} at=${circuit.first} /></td><td><${Time} at=${circuit.last} /></td><td>${circuit.quality ? html`<${Phase} phase=${circuit.quality} />` : html`<span class="soft">not judged</span>`}</td><td>${circuit.problems.join("; ")}</td></tr>`)}
      <//>
      <${Pager} pages=${pages} setPages=${setPages} next=${one.continuation} />
    <//>`}`}<//>`;
}
