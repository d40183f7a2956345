// A data asset: what one model learned from.

import { html } from "../../vendor/htm-preact.js";
import { useView } from "../api.js";
import { Lineage, commitAt, recorded } from "../evidence.js";
import { Link } from "../router.js";
import { Facts, Heading, Loaded, ReleaseLink, Section } from "../ui.js";

export default function Data({ release }) {
  const view = useView(`releases/${encodeURIComponent(release)}`, 0);
  return html`<${Loaded} view=${view}>${({ circuit, tags }) => {
    const { data_filters: filters = {} } = recorded(tags.training_settings);
    const version = tags.data_asset_version ?? tags.cutoff_date;
    return html`
      <div><p class="crumbs"><${Link} to=${`releases/${release}`}>${release}<//></p><${Heading}>sensor_training_data_${circuit}:${version}<//></div>
      <${Section} id="data" title="What the model learned from"><${Facts} facts=${[
        ["Name", `sensor_training_data_${circuit}`],
        ["Version", version],
        ["Cutoff", `the end of ${tags.cutoff_date} (UTC)`],
        ["Rows", `of sensor ${filters.sensor_id ?? tags.sensor_id ?? `SENSOR_${circuit}`}, up to the cutoff`],
        ["Target", tags.target_column],
        ["Further columns", filters.feature_columns?.join(", ")],
        ["Read from", tags.delta_version && html`<${Link} to=${commitAt(tags.table_id, tags.delta_version)}>Delta version ${tags.delta_version}<//>`],
        ["Table", tags.table_id && html`<code>${tags.table_id}</code>`],
        ["Learned by", html`<${ReleaseLink} release=${release} />`],
      ]} /><//>
      <${Section} id="lineage" title="Where it leads"><${Lineage} circuit=${circuit} release=${release} lineage=${tags} /><//>`;
  }}<//>`;
}
