// Which page an address names, and moving between pages without loading anew.

import { html, useEffect, useState } from "../vendor/htm-preact.js";
import { API } from "./api.js";

const BASE = new URL("dashboard", API).pathname;
const MOVED = "dashboard:moved";

const here = () => ({
  path: decodeURI(location.pathname).slice(BASE.length).replace(/^\/|\/$/g, ""),
  query: new URLSearchParams(location.search),
});

export function useLocation() {
  const [at, setAt] = useState(here);
  useEffect(() => {
    const moved = () => setAt(here());
    addEventListener("popstate", moved);
    addEventListener(MOVED, moved);
    return () => {
      removeEventListener("popstate", moved);
      removeEventListener(MOVED, moved);
    };
  }, []);
  return at;
}

/** The address of a page; `?…` is the first page with a query. */
export const address = (to) => (to === "" || to.startsWith("?") ? BASE + to : `${BASE}/${to}`);

export function go(to, replace = false) {
  const target = address(to);
  if (target === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", target);
  dispatchEvent(new Event(MOVED));
}

/** Change some of the address's query; empty values are left out. */
export function goWith(changes) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) value ? query.set(name, value) : query.delete(name);
  const text = query.toString();
  go(here().path + (text && `?${text}`), true);
}

export function Link({ to, children, ...rest }) {
  const clicked = (event) => {
    if (event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(to);
  };
  return html`<a href=${address(to)} onClick=${clicked} ...${rest}>${children}</a>`;
}
