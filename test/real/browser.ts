/** A real browser that is driven: Chromium, headless, by its own protocol over two pipes. Keys are pressed as a keyboard would. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { chromiumArguments, chromiumProgram } from './chromium.ts';

interface Message {
  readonly id?: number;
  readonly sessionId?: string;
  readonly method?: string;
  readonly params?: Record<string, unknown>;
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly message: string };
}

/** What does not come in this time does not come. */
const patienceMs = 20_000;
const lookEveryMs = 25;

export class DrivenBrowser {
  readonly #child: ChildProcess;
  readonly #to: Writable;
  readonly #waiting = new Map<number, PromiseWithResolvers<Record<string, unknown>>>();
  readonly #pages = new Map<string, Page>();
  #last = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#to = child.stdio[3] as Writable;
    let rest = '';
    (child.stdio[4] as Readable).setEncoding('utf8').on('data', (chunk: string) => {
      const pieces = (rest + chunk).split('\0');
      rest = pieces.pop()!;
      for (const piece of pieces) this.#hear(JSON.parse(piece) as Message);
    });
  }

  static async start(profile: string): Promise<DrivenBrowser> {
    const child = spawn(
      chromiumProgram,
      [...chromiumArguments(profile), '--remote-debugging-pipe', 'about:blank'],
      {
        stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
      },
    );
    // A test that dies must not leave it behind.
    const reap = (): void => void child.kill('SIGKILL');
    process.once('exit', reap);
    child.once('exit', () => process.off('exit', reap));
    await once(child, 'spawn');
    return new DrivenBrowser(child);
  }

  async newPage(width = 1280, height = 800): Promise<Page> {
    const { browserContextId } = await this.send('Target.createBrowserContext', {});
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank', browserContextId });
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true });
    const page = new Page((method, params) => this.send(method, params, String(sessionId)));
    this.#pages.set(String(sessionId), page);
    await page.begin(width, height);
    return page;
  }

  send(method: string, params: object, sessionId?: string): Promise<Record<string, unknown>> {
    const id = ++this.#last;
    const wanted = Promise.withResolvers<Record<string, unknown>>();
    this.#waiting.set(id, wanted);
    const message = { id, method, params, ...(sessionId === undefined ? {} : { sessionId }) };
    this.#to.write(`${JSON.stringify(message)}\0`);
    return wanted.promise;
  }

  #hear({ id, sessionId, method, params = {}, result, error }: Message): void {
    if (id === undefined) {
      this.#pages.get(sessionId ?? '')?.hear(method!, params);
      return;
    }
    const wanted = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) wanted?.resolve(result ?? {});
    else wanted?.reject(new Error(error.message));
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const ended = once(this.#child, 'exit');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), patienceMs);
    void this.send('Browser.close', {}).catch(() => undefined);
    await ended;
    clearTimeout(timer);
  }
}

const keys: Readonly<
  Record<string, { readonly code: string; readonly number: number; readonly text?: string }>
> = {
  Tab: { code: 'Tab', number: 9 },
  Enter: { code: 'Enter', number: 13, text: '\r' },
  Escape: { code: 'Escape', number: 27 },
  ' ': { code: 'Space', number: 32, text: ' ' },
  End: { code: 'End', number: 35 },
  Home: { code: 'Home', number: 36 },
  ArrowDown: { code: 'ArrowDown', number: 40 },
  ArrowUp: { code: 'ArrowUp', number: 38 },
};

type Send = (method: string, params: object) => Promise<Record<string, unknown>>;

export class Page {
  readonly #send: Send;
  /** What the console shows as an error, and requests that failed. */
  readonly errors: string[] = [];
  /** Every address that was asked for. */
  readonly asked: string[] = [];

  constructor(send: Send) {
    this.#send = send;
  }

  async begin(width: number, height: number): Promise<void> {
    for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await this.#send(`${domain}.enable`, {});
    await this.resize(width, height);
  }

  async resize(width: number, height: number): Promise<void> {
    await this.#send('Emulation.setDeviceMetricsOverride', {
      width,
      height,
      deviceScaleFactor: 1,
      mobile: false,
    });
  }

  async colours(scheme: 'light' | 'dark'): Promise<void> {
    await this.#send('Emulation.setEmulatedMedia', {
      features: [{ name: 'prefers-color-scheme', value: scheme }],
    });
  }

  hear(method: string, params: Record<string, unknown>): void {
    if (method === 'Runtime.exceptionThrown') this.errors.push(JSON.stringify(params['exceptionDetails']));
    if (
      method === 'Runtime.consoleAPICalled' &&
      ['error', 'warning', 'assert'].includes(String(params['type']))
    )
      this.errors.push(JSON.stringify(params['args']));
    if (method === 'Network.requestWillBeSent') this.asked.push((params['request'] as { url: string }).url);
    if (method === 'Log.entryAdded') {
      const entry = params['entry'] as { level: string; text: string; url?: string };
      if (entry.level === 'error' || entry.level === 'warning')
        this.errors.push(`${entry.text} ${entry.url ?? ''}`);
    }
  }

  async open(url: string): Promise<void> {
    await this.#send('Page.navigate', { url });
  }

  /** The value of an expression, or of what it promises. */
  async evaluate<T = unknown>(expression: string): Promise<T> {
    const { result, exceptionDetails } = (await this.#send('Runtime.evaluate', {
      expression,
      awaitPromise: true,
      returnByValue: true,
    })) as { result: { value: T }; exceptionDetails?: { exception?: { description?: string } } };
    if (exceptionDetails !== undefined)
      throw new Error(exceptionDetails.exception?.description ?? 'the page threw');
    return result.value;
  }

  /** Until the expression is true. A page that is on its way to another has no answer yet. */
  async until(expression: string): Promise<void> {
    const giveUpMs = Date.now() + patienceMs;
    for (;;) {
      if (await this.evaluate<boolean>(`Boolean(${expression})`).catch(() => false)) return;
      if (Date.now() > giveUpMs)
        throw new Error(`it did not come: ${expression}\n${await this.text()}\n${this.errors.join('\n')}`);
      await new Promise((resolve) => setTimeout(resolve, lookEveryMs));
    }
  }

  text(): Promise<string> {
    return this.evaluate<string>('document.body.innerText');
  }

  /** Until the page says this. */
  async says(text: string): Promise<void> {
    await this.until(`document.body.innerText.includes(${JSON.stringify(text)})`);
  }

  /** Until the page with this heading is there with its content. */
  async arrives(heading: string): Promise<void> {
    await this.until(
      `document.querySelector('h1')?.textContent === ${JSON.stringify(heading)} && document.querySelector('main')?.getAttribute('aria-busy') === null`,
    );
  }

  async press(key: string, modifiers = 0): Promise<void> {
    const { code, number, text } = keys[key] ?? { code: '', number: 0, text: key };
    const event = { key, code, windowsVirtualKeyCode: number, modifiers };
    await this.#send('Input.dispatchKeyEvent', {
      type: text === undefined ? 'rawKeyDown' : 'keyDown',
      ...event,
      ...(text === undefined ? {} : { text }),
    });
    await this.#send('Input.dispatchKeyEvent', { type: 'keyUp', ...event });
  }

  /** Replaces what is in the field that has the focus. */
  async type(text: string): Promise<void> {
    await this.#send('Input.insertText', { text });
  }

  /** What a person would hear of the element that has the focus: its role or name of tag, and its label. */
  focused(): Promise<string> {
    return this.evaluate<string>(`(() => {
      const at = document.activeElement;
      const label = at.getAttribute('aria-label') ?? at.labels?.[0]?.textContent ?? at.textContent;
      return at.localName + ': ' + label.trim();
    })()`);
  }

  /** Presses Tab until the focus is where `what` says, as in {@link focused}. */
  async tabTo(what: string): Promise<void> {
    const seen: string[] = [];
    for (let steps = 0; steps < 80; steps++) {
      await this.press('Tab');
      const at = await this.focused();
      if (at === what) return;
      seen.push(at);
    }
    throw new Error(`the keyboard does not come to ${what}; it came to\n${[...new Set(seen)].join('\n')}`);
  }

  async screenshot(file: string, isWhole = false): Promise<void> {
    const { data } = await this.#send('Page.captureScreenshot', {
      format: 'png',
      captureBeyondViewport: isWhole,
      optimizeForSpeed: false,
    });
    writeFileSync(file, Buffer.from(String(data), 'base64'));
  }
}
