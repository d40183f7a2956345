// The frame around every page: who is signed in, where one can go, whether the fleet stands still.

import { html, render, useEffect, useErrorBoundary, useRef, useState } from "../vendor/htm-preact.js";
import { get, useView } from "./api.js";
import { Link, useLocation } from "./router.js";
import { begin, signIn, signOut } from "./session.js";
import { Me } from "./me.js";
import { choose, chosen } from "./theme.js";
import { Announcements, Failure, Heading, Shape } from "./ui.js";

const PAGES = [
  { at: /^$/, file: "fleet", name: "Fleet", to: "", marks: /^$|^circuits|^releases|^commits|^data/ },
  { at: /^approvals(?:\/(?<approval>.+))?$/, file: "approvals", name: "Approvals", to: "approvals" },
  { at: /^environments(?:\/(?<version>[^/]+))?$/, file: "environments", name: "Environments", to: "environments" },
  { at: /^ledger$/, file: "ledger", name: "Ledger", to: "ledger" },
  { at: /^audit$/, file: "audit", name: "Audit", to: "audit" },
  { at: /^operations$/, file: "operations", name: "Operations", to: "operations" },
  { at: /^circuits\/(?<circuit>[^/]+)$/, file: "circuit" },
  { at: /^commits\/(?<version>[0-9]+)$/, file: "commit" },
  { at: /^data\/(?<release>[^/]+)$/, file: "data" },
  { at: /^releases\/(?<release>[^/]+)$/, file: "release" },
];
const THEMES = [
  ["", "Theme: system"],
  ["light", "Theme: light"],
  ["dark", "Theme: dark"],
];

function Page({ path, query }) {
  const found = PAGES.map((page) => ({ page, match: page.at.exec(path) })).find(({ match }) => match);
  const [Shown, setShown] = useState(null);
  const [error, resetError] = useErrorBoundary();
  const file = found?.page.file;
  useEffect(() => {
    setShown(null);
    resetError();
    if (file) import(`./pages/${file}.js`).then((module) => setShown(() => module.default));
  }, [file]);
  if (error) return html`<${Failure} error=${error} retry=${resetError} />`;
  if (!found) return html`<${Heading}>There is no such page<//><p><${Link} to="">To the fleet<//></p>`;
  return Shown && html`<${Shown} key=${path} query=${query} ...${found.match.groups} />`;
}

function Frame({ me }) {
  const { path, query } = useLocation();
  const fleet = useView("fleet", 30_000);
  const waiting = useView("approvals?size=50", 30_000);
  const count = waiting.data?.approvals.length ?? 0;
  const moved = useRef(path);
  useEffect(() => {
    if (moved.current !== path) scrollTo(0, 0);
    moved.current = path;
  }, [path]);
  return html`<a class="skip" href="#page">To the page</a>
    <header class="top">
      <${Link} to="" class="brand"><img src="/api/static/dashboard/icon.svg" alt="" width="24" height="24" />Forecast fleet<//>
      <nav aria-label="Pages"><ul>
        ${PAGES.filter((page) => page.name).map(
          (page) => html`<li><${Link} to=${page.to} aria-current=${(page.marks ?? page.at).test(path) ? "page" : undefined}>
            ${page.name}${page.file === "approvals" && count > 0 && html` <span class="count">${count}${waiting.data.continuation ? "+" : ""}<span class="hidden"> waiting</span></span>`}
          <//></li>`,
        )}
      </ul></nav>
      <div class="who">
        <select aria-label="Theme" value=${chosen()} onChange=${(event) => choose(event.target.value)}>
          ${THEMES.map(([value, name]) => html`<option value=${value}>${name}</option>`)}
        </select>
        <div><b>${me.name}</b><small>${me.groups.join(", ") || "in no group"}</small></div>
        <button class="plain" onClick=${signOut}>Sign out</button>
      </div>
    </header>
    ${fleet.data?.standstill && html`<div class="standstill" role="status"><${Shape} tone="warn" />No release enters production: ${fleet.data.standstill}</div>`}
    <main id="page"><${Page} path=${path} query=${query} /></main>
    <${Announcements} />`;
}

function Welcome({ problem }) {
  return html`<div class="welcome"><img src="/api/static/dashboard/icon.svg" alt="" width="48" height="48" />
    <h1>Sensor forecast fleet</h1>
    ${problem ? html`<div class="notice bad" role="alert"><${Shape} tone="bad" /><p>${problem}</p></div>` : html`<p>Releases, scoring and monitoring of every circuit's forecast model.</p>`}
    <button class="primary" onClick=${() => signIn("select_account")}>Sign in</button>
  </div>`;
}

async function start() {
  const root = document.getElementById("app");
  const begun = await begin().catch((error) => ({ problem: `The app cannot be reached (${error.message}). Load the page again.` }));
  if (!begun.signedIn) return render(html`<${Welcome} ...${begun} />`, root);
  try {
    const me = await get("me");
    render(html`<${Me.Provider} value=${me}><${Frame} me=${me} /><//>`, root);
  } catch (error) {
    render(html`<${Welcome} problem=${error.message} />`, root);
  }
}

start();
