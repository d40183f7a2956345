// The fleet: what needs a person now, then every circuit at a glance.

import { html } from "../../vendor/htm-preact.js";
import { useView } from "../api.js";
import { Deadline } from "../times.js";
import { CircuitLink, Empty, Heading, Loaded, Phase, ReleaseLink, Section, Table } from "../ui.js";

export default function Fleet() {
  const approvals = useView("approvals?size=50");
  return html`<${Heading}>Fleet<//>
    <${Section} id="waiting" title="Waits for people">
      <${Loaded} view=${approvals}>${({ approvals: waiting }) =>
        waiting.length === 0
          ? html`<${Empty}>Nobody is asked for anything.<//>`
          : html`<${Table} label="Open approvals" head=${["Release", "Circuit", "Gate", "Deadline"]}>
              ${waiting.map((one) => html`<tr key=${one.id}><td><${ReleaseLink} release=${one.release} /></td><td><${CircuitLink} circuit=${one.circuit} /></td><td><${Phase} phase=${`awaiting ${one.gate} approval`} /></td><td><${Deadline} at=${one.expires_at} /></td></tr>`)}
            <//>`}<//>
    <//>`;
}
