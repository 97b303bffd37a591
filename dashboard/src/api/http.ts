// Requests to the API. A refusal becomes a `Problem` with all that the service says of it.

export interface FieldError {
  field: string;
  message: string;
}

/** An answer that is no success, or none at all (`status` 0). */
export class Problem extends Error {
  readonly status: number;
  readonly errors: FieldError[];
  readonly stage: string | undefined;

  constructor(status: number, body: unknown) {
    const fields = (typeof body === 'object' && body !== null ? body : {}) as Record<string, unknown>;
    super(typeof fields.detail === 'string' ? fields.detail : `the service answered ${status || 'nothing'}`);
    this.status = status;
    this.stage = typeof fields.stage === 'string' ? fields.stage : undefined;
    const errors = Array.isArray(fields.errors) ? fields.errors : [];
    this.errors = errors.filter((error): error is FieldError => typeof error?.field === 'string');
  }
}

/** What is answered to a request, whatever it is. */
export interface Answer {
  status: number;
  statusText: string;
  /** Where more is to be had, where the service says so. */
  location: string | null;
  body: unknown;
}

export async function request(method: string, path: string, init: RequestInit = {}): Promise<Answer> {
  let response: Response;
  try {
    response = await fetch(path, { method, ...init });
  } catch {
    throw new Problem(0, { detail: 'the service cannot be reached' });
  }
  const text = await response.text();
  let body: unknown = text;
  try {
    body = text === '' ? null : JSON.parse(text);
  } catch {
    // Text stays text.
  }
  return { status: response.status, statusText: response.statusText, location: response.headers.get('Location'), body };
}

async function succeed<T>(answer: Promise<Answer>): Promise<T> {
  const { status, body } = await answer;
  if (status >= 200 && status < 300) return body as T;
  throw new Problem(status, body);
}

type Parameters = Record<string, string | number | null | undefined>;

/** A query of those parameters that are given. */
export function query(parameters: Parameters): string {
  const given = Object.entries(parameters).flatMap(([name, value]) =>
    value === null || value === undefined || value === '' ? [] : [[name, String(value)]],
  );
  return given.length > 0 ? `?${new URLSearchParams(given)}` : '';
}

export const get = <T>(path: string, parameters: Parameters = {}) =>
  succeed<T>(request('GET', path + query(parameters)));

let routes: Promise<{ paths: Record<string, unknown> }> | undefined;

/** Whether the service has a route, by its template: an older one has fewer. */
export async function hasRoute(template: string): Promise<boolean> {
  routes ??= get<{ paths: Record<string, unknown> }>('/openapi.json');
  return routes.then(
    ({ paths }) => template in paths,
    () => {
      routes = undefined;
      return false;
    },
  );
}

export const remove = (path: string, headers: Record<string, string> = {}) =>
  succeed<null>(request('DELETE', path, { headers }));

export const send = <T>(method: 'POST' | 'PUT', path: string, json: unknown, headers: Record<string, string> = {}) =>
  succeed<T>(
    request(method, path, {
      headers: { 'Content-Type': 'application/json', ...headers },
      body: JSON.stringify(json),
    }),
  );
