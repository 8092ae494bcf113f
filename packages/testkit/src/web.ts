import { get } from 'node:http';

/** Fetches a page of a server on loopback, on a connection of its own, and returns its text. Gives up after 10 s. */
export async function fetchText(port: number, path = '/'): Promise<string> {
  return await new Promise((resolve, reject) => {
    const request = get({ host: '127.0.0.1', port, path, agent: false, timeout: 10_000 }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => (text += part));
      response.on('end', () => resolve(text));
      response.on('error', reject);
    });
    request.on('timeout', () => request.destroy(new Error(`no answer from port ${port} within 10 s`)));
    request.on('error', reject);
  });
}
