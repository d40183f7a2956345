// Who is signed in. Authorization code flow with PKCE; the token is kept in this module's memory and nowhere else, so
// that nothing on the machine holds it once the page is closed. What survives the way to the issuer and back is only the
// proof that this tab asked, and where it was.

const API = new URL("../../", import.meta.url);
const PAGE = new URL("dashboard", API).href;
const ASKED = "sign-in";
const EARLY_MS = 60_000;

let token = null;
let refreshToken = null;
let expiresAt = 0;
let refreshing = null;
let addresses = null;

export class SignedOut extends Error {}

/** Take up a sign-in that comes back from the issuer. Returns the person's right to go on, or why there is none yet. */
export async function begin() {
  addresses = await (await fetch(new URL("sign-in", API))).json();
  if (!addresses.authorize) return { problem: addresses.detail ?? "The dashboard's sign-in is not set up." };
  const given = new URLSearchParams(location.search);
  const asked = JSON.parse(sessionStorage.getItem(ASKED) ?? "null");
  sessionStorage.removeItem(ASKED);
  const back = asked !== null && given.get("state") === asked.state;
  if (back) history.replaceState(null, "", asked.path);
  if (back && given.has("code")) {
    const form = { grant_type: "authorization_code", code: given.get("code"), code_verifier: asked.verifier };
    return (await redeem({ ...form, redirect_uri: PAGE })) ? { signedIn: true } : { problem: "Sign-in did not succeed." };
  }
  if (back) {
    const silent = ["login_required", "interaction_required", "consent_required"].includes(given.get("error"));
    return silent ? {} : { problem: given.get("error_description") ?? given.get("error") };
  }
  await signIn("none");
  return new Promise(() => {}); // the page is left
}

/** Go to the issuer; `prompt` none comes back at once, signed in or not, and select_account lets another person in. */
export async function signIn(prompt = "") {
  const verifier = random();
  const asked = { state: random(), verifier, path: location.pathname + location.search };
  sessionStorage.setItem(ASKED, JSON.stringify(asked));
  const proof = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
  const query = new URLSearchParams({
    client_id: addresses.client,
    response_type: "code",
    redirect_uri: PAGE,
    scope: addresses.scope,
    state: asked.state,
    code_challenge: base64url(new Uint8Array(proof)),
    code_challenge_method: "S256",
    ...(prompt && { prompt }),
  });
  location.assign(`${addresses.authorize}?${query}`);
}

export function signOut() {
  token = refreshToken = null;
  location.assign(`${addresses.sign_out}?${new URLSearchParams({ post_logout_redirect_uri: PAGE })}`);
}

/** The header of a signed-in request; raises SignedOut once the issuer gives no further token. */
export async function authorization() {
  if (Date.now() > expiresAt - EARLY_MS && refreshToken) {
    refreshing ??= redeem({ grant_type: "refresh_token", refresh_token: refreshToken }).finally(() => (refreshing = null));
    await refreshing;
  }
  if (!token || Date.now() > expiresAt) throw new SignedOut("Your sign-in has ended.");
  return `Bearer ${token}`;
}

async function redeem(form) {
  const body = new URLSearchParams({ client_id: addresses.client, scope: addresses.scope, ...form });
  const answer = await fetch(addresses.token, { method: "POST", body });
  if (!answer.ok) {
    token = refreshToken = null;
    return false;
  }
  const given = await answer.json();
  token = given.access_token;
  refreshToken = given.refresh_token ?? null;
  expiresAt = Date.now() + given.expires_in * 1000;
  return true;
}

const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));
const base64url = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
