// What happened, line by line, in words.

import { html } from "../vendor/htm-preact.js";
import { When } from "./times.js";
import { Phase } from "./ui.js";

const LEFT_OUT = new Set(["person", "comment", "reason", "digest", "request", "evidence", "by", "asked_by", "channel", "command_id"]);

/** `RegistryApproved` as `Registry approved`. */
export const words = (event) => event.replace(/(?<=[a-z])(?=[A-Z])/g, " ").toLowerCase().replace(/^./, (first) => first.toUpperCase());

const short = (value) => (typeof value === "object" && value !== null ? JSON.stringify(value) : String(value));

export function History({ lines }) {
  if (lines.length === 0) return html`<p class="soft">Nothing yet.</p>`;
  return html`<ol class="history">${lines.map((line) => {
    const { detail } = line;
    const who = detail.person?.name ?? detail.person?.username ?? detail.by ?? detail.asked_by;
    const said = detail.comment || detail.reason || detail.error;
    const rest = Object.entries(detail).filter(([name, value]) => !LEFT_OUT.has(name) && name !== "error" && short(value).length < 200);
    return html`<li key=${`${line.at}${line.event}`}>
      <b>${words(line.event)}</b>${who && ` by ${who}`}${line.after !== line.before && html` → <${Phase} phase=${line.after} />`}
      <div class="at"><${When} at=${line.at} /></div>
      ${said && html`<blockquote>${said}</blockquote>`}
      ${rest.length > 0 && html`<small class="soft">${rest.map(([name, value]) => `${name.replaceAll("_", " ")} ${short(value)}`).join(" · ")}</small>`}
    </li>`;
  })}</ol>`;
}
