import { Agent, request } from 'node:http';

const LIMIT_MS = 10_000;
const ANSWER_MAX = 4 << 20;

/** Sends one request to a server on loopback and returns the answer's text; rejects unless the status is 200. Gives up after 10 s. */
export async function ask(
  port: number,
  path: string,
  options: { body?: unknown; agent?: Agent } = {},
): Promise<string> {
  const body = options.body === undefined ? undefined : JSON.stringify(options.body);
  const headers =
    body === undefined
      ? {}
      : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
  return await new Promise((resolve, reject) => {
    const asked = request(
      {
        host: '127.0.0.1',
        port,
        path,
        agent: options.agent ?? false,
        method: body === undefined ? 'GET' : 'POST',
        headers,
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (part: string) => {
          text += part;
          if (text.length > ANSWER_MAX)
            asked.destroy(new Error(`${path} answered with more than ${ANSWER_MAX} bytes`));
        });
        response.on('error', reject);
        response.on('end', () => {
          if (response.statusCode === 200) resolve(text);
          else reject(new Error(`${path} answered ${response.statusCode}: ${text.slice(0, 300)}`));
        });
      },
    );
    const timer = setTimeout(
      () => asked.destroy(new Error(`no answer to ${path} from port ${port} within ${LIMIT_MS} ms`)),
      LIMIT_MS,
    );
    asked.on('error', reject);
    asked.on('close', () => clearTimeout(timer));
    asked.end(body);
  });
}

/** Rejects unless a page answers with JSON that holds what is expected. */
export async function expectJson(
  port: number,
  path: string,
  expected: unknown,
  body?: unknown,
): Promise<void> {
  const text = await ask(port, path, body === undefined ? {} : { body });
  const wanted = JSON.stringify(expected);
  if (JSON.stringify(JSON.parse(text)) !== wanted)
    throw new Error(`${path} answered ${text.slice(0, 300)} instead of ${wanted}`);
}

/** Rejects unless a page's text matches. */
export async function expectText(port: number, path: string, pattern: RegExp): Promise<void> {
  const text = await ask(port, path);
  if (!pattern.test(text))
    throw new Error(
      `${path} answered ${JSON.stringify(text.slice(0, 300))}, which does not match ${String(pattern)}`,
    );
}

/** Returns a page's JSON, which must be an array of strings. */
export async function strings(
  port: number,
  path: string,
  pick: (value: unknown) => unknown = (value) => value,
  body?: unknown,
): Promise<string[]> {
  const text = await ask(port, path, body === undefined ? {} : { body });
  const value = pick(JSON.parse(text));
  if (!Array.isArray(value) || value.length === 0)
    throw new Error(`${path} answered ${text.slice(0, 300)} instead of random values`);
  return value.map(String);
}

/** What the clients of a load saw. */
export interface Load {
  readonly answers: number;
  readonly errors: readonly string[];
}

/** Keeps `clients` clients asking, one request after the other, until the returned function is called. */
export function startLoad(clients: number, once: () => Promise<void>): () => Promise<Load> {
  let isOn = true;
  let answers = 0;
  const errors: string[] = [];
  const client = async (): Promise<void> => {
    while (isOn && errors.length < 20) {
      try {
        await once();
        answers++;
      } catch (error) {
        errors.push(messageOf(error));
      }
    }
  };
  const all = Promise.all(Array.from({ length: clients }, client));
  return async () => {
    isOn = false;
    await all;
    return { answers, errors };
  };
}

/** Returns an error's message; of several errors in one the first. */
export function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return messageOf(error.errors[0]);
  return error instanceof Error ? error.message : String(error);
}
