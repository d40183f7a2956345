// Times as people read them: their own clock, with UTC beside it, and how long ago or how far off.

import { html } from "../vendor/htm-preact.js";

const DAY = { day: "numeric", month: "short" };
const CLOCK = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const UNITS = [
  ["d", 86_400],
  ["h", 3_600],
  ["min", 60],
];

const format = (at, options) => new Intl.DateTimeFormat("en-GB", options).format(at);
const year = (at) => (at.getFullYear() === new Date().getFullYear() ? {} : { year: "numeric" });
export const localTime = (at) => `${format(at, { ...DAY, ...year(at) })} ${format(at, CLOCK)}`;
export const utcTime = (at) => `${format(at, { ...CLOCK, timeZone: "UTC" })} UTC`;

/** `3 h`, `2 d 4 h`: a span in its largest unit, and the next for days. */
export function span(seconds) {
  const whole = Math.abs(seconds);
  const [name, length] = UNITS.find(([, unit]) => whole >= unit) ?? ["s", 1];
  const hours = Math.floor((whole % 86_400) / 3_600);
  return `${Math.floor(whole / length)} ${name}${name === "d" && hours && whole < 864_000 ? ` ${hours} h` : ""}`;
}

const sameClock = (at) => at.getTimezoneOffset() === 0;

/** A moment: local, with UTC where that differs. */
export function Time({ at }) {
  if (!at) return html`<span class="none">never</span>`;
  const moment = new Date(at);
  const utc = sameClock(moment) ? " UTC" : html` <span class="utc">${utcTime(moment)}</span>`;
  return html`<time datetime=${moment.toISOString()}>${localTime(moment)}${utc}</time>`;
}

/** How long ago a moment was, or how far off it is. */
export function Ago({ at }) {
  if (!at) return html`<span class="none">never</span>`;
  const moment = new Date(at);
  const seconds = (Date.now() - moment) / 1000;
  const text = Math.abs(seconds) < 5 ? "now" : seconds > 0 ? `${span(seconds)} ago` : `in ${span(seconds)}`;
  return html`<time datetime=${moment.toISOString()} title="${localTime(moment)} (${utcTime(moment)})">${text}</time>`;
}

/** A moment and how long ago it was. */
export const When = ({ at }) => (at ? html`<${Time} at=${at} /> · <${Ago} at=${at} />` : html`<${Time} />`);

/** A deadline: how far off, marked when it is close or gone. */
export function Deadline({ at }) {
  if (!at) return html`<span class="none">none</span>`;
  const seconds = (new Date(at) - Date.now()) / 1000;
  const tone = seconds < 2 * 3_600 ? "bad" : seconds < 8 * 3_600 ? "warn" : "";
  const said = seconds < 0 ? `passed ${span(seconds)} ago` : `in ${span(seconds)}`;
  const moment = new Date(at);
  return html`<time class=${tone} datetime=${at} title="${localTime(moment)} (${utcTime(moment)})">
    ${tone && html`<span aria-hidden="true">⚠ </span>`}${said}
  </time>`;
}

export const utcDay = (at) => at.toISOString().slice(0, 10);
export const daysBefore = (day, days) => utcDay(new Date(Date.parse(`${day}T00:00Z`) - days * 86_400_000));
