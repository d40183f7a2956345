// Requests to the app's API, and views kept fresh by asking again: a view that has not changed costs a 304.

import { useCallback, useEffect, useRef, useState } from "../vendor/htm-preact.js";
import { SignedOut, authorization } from "./session.js";

export const API = new URL("../../", import.meta.url);
const EVERY_MS = 15_000;
const KEPT = 200;
const answers = new Map(); // path -> { etag, data }

/** What the app answered instead of what was asked for. */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `The app answered ${status}.`);
    Object.assign(this, { status, title: body.title ?? "Not possible", field: body.field, body });
  }
}

async function request(path, options = {}) {
  const headers = { Accept: "application/json", ...options.headers, Authorization: await authorization() };
  let answer;
  try {
    answer = await fetch(new URL(path, API), { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { title: "No connection", detail: "The app cannot be reached. This page goes on trying." });
  }
  if (answer.status === 401) throw new SignedOut("Your sign-in has ended.");
  if (!answer.ok && answer.status !== 304) throw new Problem(answer.status, await answer.json().catch(() => ({})));
  return answer;
}

/** The view at a path; the former one, the same object, when it has not changed. */
export async function get(path, signal) {
  const known = answers.get(path);
  const answer = await request(path, { signal, headers: known?.etag ? { "If-None-Match": known.etag } : {} });
  if (answer.status === 304) return known.data;
  const text = await answer.text();
  if (known?.text === text) return known.data;
  const kept = { etag: answer.headers.get("ETag"), text, data: JSON.parse(text) };
  answers.delete(path);
  answers.set(path, kept);
  if (answers.size > KEPT) answers.delete(answers.keys().next().value);
  return kept.data;
}

/** Order something. The same `key` sent again, after a lost answer, is done once. */
export async function post(path, body, key) {
  const headers = { "Content-Type": "application/json", ...(key && { "Idempotency-Key": key }) };
  return (await request(path, { method: "POST", body: JSON.stringify(body), headers })).json();
}

/** Hand a page of its own to the browser to keep: inside this page, what it says would be under this page's policy. */
export async function download(path, name) {
  const kept = URL.createObjectURL(await (await request(path)).blob());
  Object.assign(document.createElement("a"), { href: kept, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(kept), 60_000);
}

/** The view at a path (null: none is wanted), asked for again while the page is looked at, and on `refresh`. */
export function useView(path, every = EVERY_MS) {
  const [, redraw] = useState(0);
  const view = useRef({});
  if (view.current.path !== path) view.current = { path, data: answers.get(path)?.data, error: null, at: null };
  const ask = useCallback(
    async (signal) => {
      if (path === null) return;
      const mine = view.current;
      try {
        const data = await get(path, signal);
        Object.assign(mine, { data, error: null, at: new Date() });
      } catch (error) {
        if (error.name === "AbortError") return;
        mine.error = error;
      }
      if (view.current === mine) redraw((count) => count + 1);
    },
    [path],
  );
  useEffect(() => {
    const leaving = new AbortController();
    const look = () => document.visibilityState === "visible" && ask(leaving.signal);
    look();
    const timer = every ? setInterval(look, every) : null;
    document.addEventListener("visibilitychange", look);
    return () => {
      leaving.abort();
      clearInterval(timer);
      document.removeEventListener("visibilitychange", look);
    };
  }, [ask, every]);
  return { ...view.current, loading: path !== null && !view.current.data && !view.current.error, refresh: () => ask() };
}
