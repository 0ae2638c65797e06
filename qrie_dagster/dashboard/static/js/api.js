// The API as this page uses it.

let csrf = "";

/** What the server said was wrong. */
export class ApiError extends Error {}

/** GETs `path` with the parameters that are not empty. */
export async function get(path, parameters = {}) {
  return ask(path + query(parameters), {});
}

/** Up to `wanted` rows of what is answered in pages, under the name `rows`. */
export async function rowsOf(path, rows, parameters, wanted) {
  const found = [];
  let token = null;
  do {
    const page = await get(path, { ...parameters, page_size: Math.min(100, wanted - found.length), next_token: token });
    found.push(...page[rows]);
    token = page.next_token;
  } while (token && found.length < wanted);
  return found;
}

/** Changes something. */
export async function send(method, path, body) {
  return ask(path, {
    method,
    headers: { "X-CSRF-Token": csrf, ...(body ? { "Content-Type": "application/json" } : {}) },
    body: body ? JSON.stringify(body) : undefined,
  });
}

/** The parameters that are not empty, as a query. */
export function query(parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

/** Starts the session of this page. */
export async function startSession() {
  const session = await get("/session");
  csrf = session.csrf_token ?? "";
  return session;
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", ...options });
  } catch {
    throw new ApiError("The dashboard's server does not answer.");
  }
  if (answer.status === 401) {
    // With what the address asks for: after the login it is shown.
    location.assign(`/login${location.hash}`);
    return new Promise(() => {});
  }
  const body = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (!answer.ok) throw new ApiError(body?.message ?? `The server answered ${answer.status}.`);
  return body;
}
