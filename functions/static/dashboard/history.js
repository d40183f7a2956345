// What happened, line by line, in words.

import { html } from "../vendor/htm-preact.js";
import { When } from "./times.js";
import { Phase } from "./ui.js";

const LEFT_OUT = new Set(["person", "comment", "reason", "digest", "request", "evidence", "by", "asked_by", "channel", "command_id"]);

/** `RegistryApproved` as `Registry approved`. */
export const words = (event) => event.replace(/(?<=[a-z])(?=[A-Z])/g, " ").toLowerCase().replace(/^./, (first) => first.toUpperCase());

/** A detail in words; nothing where it says nothing. */
function short(value) {
  if (Array.isArray(value)) return value.map(short).join(", ");
  if (typeof value === "object" && value !== null) return Object.entries(value).map(([name, one]) => `${name} ${short(one)}`).join(", ");
  return value === null ? "" : String(value);
}

/** Lines with how often each came in a row without moving anything: of those only the last is shown. */
const folded = (lines) =>
  lines.reduce((kept, line) => {
    const before = kept.at(-1);
    const again = before?.event === line.event && before.item === line.item && line.before === line.after && before.before === before.after && !line.detail.person;
    return again ? [...kept.slice(0, -1), { ...line, times: before.times + 1 }] : [...kept, { ...line, times: 1 }];
  }, []);

export function History({ lines }) {
  if (lines.length === 0) return html`<p class="soft">Nothing yet.</p>`;
  return html`<ol class="history">${folded(lines).map((line) => {
    const { detail } = line;
    const who = detail.person?.name ?? detail.person?.username ?? detail.by ?? detail.asked_by;
    const said = detail.comment || detail.reason || detail.error;
    const rest = Object.entries(detail).filter(([name, value]) => !LEFT_OUT.has(name) && name !== "error" && short(value) !== "" && short(value).length < 200);
    return html`<li key=${`${line.at}${line.event}`}>
      <b>${words(line.event)}</b>${who && ` by ${who}`}${line.times > 1 && html` <span class="soft">${line.times} times, last:</span>`}${line.after !== line.before && html` → <${Phase} phase=${line.after} />`}
      <div class="at"><${When} at=${line.at} /></div>
      ${said && html`<blockquote>${said}</blockquote>`}
      ${rest.length > 0 && html`<small class="soft">${rest.map(([name, value]) => `${name.replaceAll("_", " ")} ${short(value)}`).join(" · ")}</small>`}
    </li>`;
  })}</ol>`;
}
