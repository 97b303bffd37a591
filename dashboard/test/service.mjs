// The real service and the real simulator, on a folder of their own.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? path.join(root, 'target');
const programs = path.join(target, 'debug');
/** The plugin that is uploaded. */
export const band = path.join(target, 'plugins', 'band.wasm');

const PATIENCE_MS = 90_000;

/**
 * Asks until there is an answer.
 * @template T
 * @param {string} what
 * @param {() => Promise<T | null | undefined | false>} ask
 * @returns {Promise<T>}
 */
export async function eventually(what, ask) {
  const until = Date.now() + PATIENCE_MS;
  for (;;) {
    const answer = await ask();
    if (answer !== null && answer !== undefined && answer !== false) return answer;
    if (Date.now() > until) throw new Error(`waited in vain for ${what}`);
    await sleep(50);
  }
}

/** @param {string} program @param {string[]} options @param {string} folder */
function start(program, options, folder) {
  const file = path.join(programs, program);
  if (!existsSync(file)) throw new Error(`${file} is not there; build it with: make build`);
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('WIGWAG_')));
  return spawn(file, options, { cwd: folder, env, stdio: ['ignore', 'ignore', 'pipe'] });
}

export class Service {
  url = '';
  token = '';
  /** @type {string[]} */
  lines = [];
  folder = '';
  /** @type {import('node:child_process').ChildProcess | undefined} */
  child;
  /** @type {import('node:child_process').ChildProcess[]} */
  generators = [];

  /** @type {string[]} */
  options = [];

  /** @param {...string} options */
  static async start(...options) {
    const service = new Service();
    service.options = options;
    service.folder = await mkdtemp(path.join(tmpdir(), 'wigwag-dashboard-'));
    // Plugins are compiled once for all tests.
    const compiled = path.join(target, 'tmp', 'compiled');
    await mkdir(compiled, { recursive: true });
    await mkdir(path.join(service.folder, 'data'));
    await symlink(compiled, path.join(service.folder, 'data', 'compiled'));
    await service.launch('127.0.0.1:0');
    return service;
  }

  /** @param {string} listen */
  async launch(listen) {
    this.lines = [];
    const child = start('wigwag', ['serve', '--listen', listen, '--data-dir', 'data', '--sync', 'normal', ...this.options], this.folder);
    this.child = child;
    createInterface({ input: /** @type {import('node:stream').Readable} */ (child.stderr) }).on('line', (line) => this.lines.push(line));
    this.url = await eventually('the address', async () => {
      if (child.exitCode !== null) throw new Error(`the service ended:\n${this.lines.join('\n')}`);
      const line = this.lines.find((text) => text.includes('listening address='));
      return line && `http://${/address="([^"]+)"/.exec(line)?.[1]}`;
    });
    await eventually('readiness', async () => (await this.get('/readyz').catch(() => null))?.ok);
    this.token = await readFile(path.join(this.folder, 'data', 'admin.token'), 'utf8');
  }

  /** @param {string} at */
  get(at) {
    return fetch(this.url + at);
  }

  /** @param {string} at @returns {Promise<any>} */
  async json(at) {
    return (await this.get(at)).json();
  }

  /** @param {...string} options */
  simulate(...options) {
    const child = start('wigwag-generator', ['--to', `${this.url}/ingest`, ...options], this.folder);
    child.stderr?.resume();
    this.generators.push(child);
  }

  /** As `kill -9`. */
  async kill() {
    const child = this.child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  /** On the address that it had. */
  async restart() {
    await this.launch(new URL(this.url).host);
  }

  async stop() {
    for (const generator of this.generators) generator.kill('SIGKILL');
    await this.kill();
    await rm(this.folder, { recursive: true, force: true });
  }
}
