// What every page is made of. Texts from outside reach the page only as text: nothing here takes markup.

import { html, useEffect, useRef, useState } from "../vendor/htm-preact.js";
import { Problem, post } from "./api.js";
import { Link } from "./router.js";
import { SignedOut, signIn } from "./session.js";

let arrived = false;

/** The page's heading: its title, and where a reader begins after moving to the page. */
export function Heading({ children, title }) {
  const heading = useRef(null);
  useEffect(() => {
    if (arrived) heading.current.focus({ preventScroll: true });
    arrived = true;
  }, []);
  useEffect(() => {
    document.title = `${title ?? heading.current.textContent} · Sensor forecast fleet`;
  });
  return html`<h1 ref=${heading} tabindex="-1">${children}</h1>`;
}

const SHAPES = {
  good: "M3.5 8.5l3 3 6-7",
  busy: "M8 2.5a5.5 5.5 0 1 1-5.5 5.5M8 5v3l2 1.5",
  wait: "M5.5 3.5v9M10.5 3.5v9",
  person: "M8 8a2.75 2.75 0 1 0 0-5.5A2.75 2.75 0 0 0 8 8zM2.5 14c.5-3 2.8-4.2 5.5-4.2s5 1.2 5.5 4.2",
  warn: "M8 2.5l6 11H2zM8 6.5v3M8 11.4v.2",
  bad: "M4 4l8 8M12 4l-8 8",
  none: "M4 8h8",
};

/** A tone's shape, so that colour is never the only sign. */
export const Shape = ({ tone }) =>
  html`<svg class="shape" viewBox="0 0 16 16" aria-hidden="true"><path d=${SHAPES[tone] ?? SHAPES.none} /></svg>`;

export const Badge = ({ tone = "none", children }) =>
  html`<span class="badge ${tone}"><${Shape} tone=${tone} /><span>${children}</span></span>`;

const TONES = {
  "awaiting registry approval": "person",
  "awaiting production approval": "person",
  ready: "wait",
  "waiting for test": "wait",
  "waiting for readings": "wait",
  live: "good",
  settled: "good",
  tested: "good",
  passed: "good",
  "cannot say": "warn",
  scored: "good",
  done: "good",
  lifted: "none",
  late: "warn",
  "filled afterwards": "good",
  standing: "warn",
  flagged: "warn",
  halted: "warn",
  offered: "person",
  opened: "person",
  expired: "warn",
  due: "wait",
  missing: "bad",
  missed: "bad",
  failed: "bad",
  errored: "bad",
  rejected: "bad",
  "rolled back": "bad",
  superseded: "none",
  cancelled: "none",
  left: "none",
  "called off": "none",
};
export const toneOf = (phase) => TONES[phase] ?? "busy";
export const Phase = ({ phase }) => html`<${Badge} tone=${toneOf(phase)}>${phase}<//>`;

export const Pair = ({ pair }) =>
  pair ? html`<span class="pair">model ${pair.model}<small> on ${pair.environment}</small></span>` : html`<span class="none">nothing</span>`;

/** Names and values, those without a value left out. */
export const Facts = ({ facts }) => html`<dl class="facts">
  ${facts
    .filter(([, value]) => value !== undefined && value !== null && value !== "")
    .map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}
</dl>`;

export const Empty = ({ children }) => html`<p class="empty"><${Shape} tone="good" />${children}</p>`;

/** What a view shows until it is there, and when it is not to be had. */
export function Loaded({ view, children }) {
  if (view.error && !view.data) return html`<${Failure} error=${view.error} retry=${view.refresh} />`;
  if (!view.data) return html`<p class="loading" role="status">Loading …</p>`;
  return html`${view.error && html`<${Failure} error=${view.error} retry=${view.refresh} stale />`}${children(view.data)}`;
}

export function Failure({ error, retry, stale }) {
  if (error instanceof SignedOut)
    return html`<div class="notice warn" role="alert">
      <${Shape} tone="warn" /><p>${error.message} What you see may be old.</p>
      <button onClick=${() => signIn()}>Sign in again</button>
    </div>`;
  return html`<div class="notice bad" role="alert">
    <${Shape} tone="bad" />
    <p><b>${error.title ?? "Something broke on this page"}.</b> ${error.message}${stale && " What you see is from before."}</p>
    ${retry && html`<button onClick=${retry}>Try again</button>`}
  </div>`;
}

export const Notice = ({ tone = "none", children }) =>
  html`<div class="notice ${tone}"><${Shape} tone=${tone} /><div>${children}</div></div>`;

/** A table that scrolls inside itself on a narrow screen; `head` are texts, `children` its rows, `fit`: no wider than it must. */
export const Table = ({ label, head, children, fit, numbers }) => html`<div class="scroll" tabindex="0" role="region" aria-label=${label}>
  <table class=${fit && "fit"}>
    <thead><tr>${head.map((name, n) => html`<th scope="col" class=${numbers && n > 0 && "number"}>${name}</th>`)}</tr></thead>
    <tbody>${children}</tbody>
  </table>
</div>`;

/** Buttons to the further pages of a list whose `pages` are the continuations so far. */
export function Pager({ pages, setPages, next, shown }) {
  if (!next && pages.length === 0) return null;
  return html`<nav class="pager" aria-label="Pages of this list">
    <button disabled=${pages.length === 0} onClick=${() => setPages(pages.slice(0, -1))}>Previous</button>
    <span>Page ${pages.length + 1}${shown && ` · ${shown}`}</span>
    <button disabled=${!next} onClick=${() => setPages([...pages, next])}>Next</button>
  </nav>`;
}

/** A confirmation with a reason. `order`: title, says, path, body, verb, danger, reason (its label; "" for none). */
export function OrderDialog({ order, close, done }) {
  const dialog = useRef(null);
  const key = useRef(crypto.randomUUID());
  const [reason, setReason] = useState("");
  const [sending, setSending] = useState(false);
  const [error, setError] = useState(null);
  useEffect(() => dialog.current.showModal(), []);
  const label = order.reason ?? "Reason, kept in the history";
  const least = order.least ?? 3;
  const send = async (event) => {
    event.preventDefault();
    if (label && reason.trim().length < least)
      return setError(new Problem(0, { title: "Not sent", detail: `Write at least ${least} characters.` }));
    setSending(true);
    try {
      const answer = await post(order.path, order.body(reason.trim()), key.current);
      done(answer);
    } catch (failed) {
      setError(failed);
      setSending(false);
      if (failed.status >= 400 && failed.status < 500) key.current = crypto.randomUUID();
    }
  };
  return html`<dialog ref=${dialog} onClose=${close} aria-labelledby="order-title">
    <form onSubmit=${send} novalidate>
      <h2 id="order-title">${order.title}</h2>
      <p>${order.says}</p>
      ${label &&
      html`<label>${label}
        <textarea rows="3" maxlength="500" value=${reason} required=${least > 0} onInput=${(e) => setReason(e.target.value)} />
      </label>`}
      ${order.fields}
      ${error && html`<${Failure} error=${error} />`}
      <div class="buttons">
        <button type="button" onClick=${() => dialog.current.close()}>Cancel</button>
        <button class=${order.danger ? "danger" : "primary"} disabled=${sending}>${sending ? "Sending …" : order.verb}</button>
      </div>
    </form>
  </dialog>`;
}

/** A button that may be refused: where `why` says so it stays reachable and tells why. */
export function OrderButton({ order, why, done, kind = "" }) {
  const [open, setOpen] = useState(false);
  if (why) return html`<span class="refused"><button class=${kind} aria-disabled="true" aria-describedby=${`why-${order.id}`}>${order.name}</button>
    <small id=${`why-${order.id}`}>${why}</small></span>`;
  return html`<button class=${kind} onClick=${() => setOpen(true)}>${order.name}</button>
    ${open && html`<${OrderDialog} order=${order} close=${() => setOpen(false)} done=${(answer) => { setOpen(false); announce(order.told ?? `${order.name}: recorded.`); done?.(answer); }} />`}`;
}

/** Say something to everybody, also to those who listen. */
export function announce(text) {
  dispatchEvent(new CustomEvent("dashboard:said", { detail: text }));
}

export function Announcements() {
  const [text, setText] = useState("");
  useEffect(() => {
    let timer;
    const said = (event) => {
      setText(event.detail);
      clearTimeout(timer);
      timer = setTimeout(() => setText(""), 8_000);
    };
    addEventListener("dashboard:said", said);
    return () => removeEventListener("dashboard:said", said);
  }, []);
  return html`<div class="said" role="status" aria-live="polite">${text}</div>`;
}

/** A section with a heading; what stands beside the heading is `aside`. */
export const Section = ({ title, aside, children, id }) => html`<section aria-labelledby=${id} class="section">
  <header><h2 id=${id}>${title}</h2>${aside && html`<div class="aside">${aside}</div>`}</header>
  ${children}
</section>`;

export const CircuitLink = ({ circuit }) => html`<${Link} to=${`circuits/${circuit}`}>${circuit}<//>`;
export const ReleaseLink = ({ release }) => html`<${Link} to=${`releases/${release}`}>${release}<//>`;
