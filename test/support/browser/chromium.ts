/** A page in Debian's Chromium, driven over the DevTools protocol: https://chromedevtools.github.io/devtools-protocol/ */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { createInterface } from 'node:readline'

/** Undefined where neither is installed. The shell has no window, and needs a third of the packages less. */
export const chromium = ['chromium-headless-shell', 'chromium']
  .flatMap(program => (process.env.PATH ?? '').split(delimiter).map(dir => join(dir, program)))
  .find(path => existsSync(path))

export const skip = chromium ? false : 'neither chromium-headless-shell nor chromium is installed'

interface Message {
  readonly id?: number
  readonly method?: string
  // biome-ignore lint/suspicious/noExplicitAny: the shape depends on the method
  readonly params?: any
  // biome-ignore lint/suspicious/noExplicitAny: the shape depends on the method
  readonly result?: any
  readonly error?: { readonly message: string }
}

export interface Viewport {
  readonly width: number
  readonly height: number
  readonly dark?: boolean
}

export class Browser {
  /** Console errors, uncaught exceptions, and what the content security policy blocked. */
  readonly errors: string[] = []
  readonly #end: () => Promise<void>
  readonly #socket: WebSocket
  readonly #waiting = new Map<number, PromiseWithResolvers<Message['result']>>()
  #id = 0

  private constructor(socket: WebSocket, end: () => Promise<void>) {
    this.#socket = socket
    this.#end = end
    socket.addEventListener('message', ({ data }) => this.#heard(JSON.parse(String(data))))
  }

  static async open(): Promise<Browser> {
    const profile = mkdtempSync(join(tmpdir(), 'starlane-chromium-'))
    const flags = [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--hide-scrollbars',
    ]
    const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync']
    const child = spawn(
      chromium ?? 'chromium',
      [...flags, ...quiet, '--remote-debugging-port=0', `--user-data-dir=${profile}`, 'about:blank'],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    )
    const closed = once(child, 'close')
    const end = async () => {
      await closed
      rmSync(profile, { recursive: true, force: true, maxRetries: 5 })
    }
    let port: string | undefined
    for await (const line of createInterface({ input: child.stderr })) {
      port = /DevTools listening on ws:\/\/[^:]+:(\d+)/.exec(line)?.[1]
      if (port) break
    }
    child.stderr.resume()
    const targets = (await (await fetch(`http://127.0.0.1:${port}/json/list`)).json()) as {
      type: string
      webSocketDebuggerUrl: string
    }[]
    const socket = new WebSocket(targets.find(({ type }) => type === 'page')?.webSocketDebuggerUrl ?? '')
    await new Promise((resolve, reject) => {
      socket.addEventListener('open', resolve)
      socket.addEventListener('error', reject)
    })
    const browser = new Browser(socket, end)
    for (const domain of ['Page', 'Runtime', 'Log']) await browser.#call(`${domain}.enable`)
    return browser
  }

  /** Forgets the errors of the page before. */
  async show(url: string, { width, height, dark = false }: Viewport = { width: 1280, height: 900 }): Promise<void> {
    const mobile = width < 600
    await this.#call('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile })
    const features = [{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }]
    await this.#call('Emulation.setEmulatedMedia', { features })
    // A change of the part after # alone would not load the page again.
    await this.#call('Page.navigate', { url: 'about:blank' })
    // What the page before still asked of a server that has ended since.
    this.errors.length = 0
    await this.#call('Page.navigate', { url })
  }

  /** The value of an expression in the page; promises are awaited. */
  async evaluate<T>(expression: string): Promise<T> {
    const asked = { expression, awaitPromise: true, returnByValue: true }
    const { result, exceptionDetails } = await this.#call('Runtime.evaluate', asked)
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text)
    return result.value
  }

  /** Resolves once an expression is true, within ten seconds. */
  async until(expression: string): Promise<void> {
    const wait = `new Promise(resolve => {
      const end = Date.now() + 10000
      const look = () => {
        let holds = false
        try { holds = Boolean(${expression}) } catch {}
        if (holds || Date.now() > end) resolve(holds)
        else setTimeout(look, 20)
      }
      look()
    })`
    if (!(await this.evaluate<boolean>(wait))) throw new Error(`never true in the page: ${expression}`)
  }

  async press(key: string): Promise<void> {
    const text = key === 'Enter' ? '\r' : key.length === 1 ? key : undefined
    const windowsVirtualKeyCode = { Enter: 13, Escape: 27, ArrowDown: 40, ArrowUp: 38, End: 35, Home: 36, Tab: 9 }[key]
    const event = { key, code: key, windowsVirtualKeyCode, ...(text ? { text } : {}) }
    await this.#call('Input.dispatchKeyEvent', { type: 'keyDown', ...event })
    await this.#call('Input.dispatchKeyEvent', { type: 'keyUp', ...event })
  }

  /** PNG of the viewport. */
  async screenshot(): Promise<Buffer> {
    const { data } = await this.#call('Page.captureScreenshot', { format: 'png' })
    return Buffer.from(data, 'base64')
  }

  /** By its own command: what was started may be a script, and the browser its child. It may be gone before it answers. */
  async close(): Promise<void> {
    const gone = new Promise(resolve => this.#socket.addEventListener('close', resolve))
    await Promise.race([this.#call('Browser.close'), gone])
    this.#socket.close()
    await this.#end()
  }

  #call(method: string, params: object = {}): Promise<Message['result']> {
    const id = ++this.#id
    const answer = Promise.withResolvers<Message['result']>()
    this.#waiting.set(id, answer)
    this.#socket.send(JSON.stringify({ id, method, params }))
    return answer.promise
  }

  #heard({ id, method, params, result, error }: Message): void {
    if (id !== undefined) {
      const waiting = this.#waiting.get(id)
      this.#waiting.delete(id)
      if (error) waiting?.reject(new Error(error.message))
      else waiting?.resolve(result)
    } else if (method === 'Runtime.exceptionThrown') {
      this.errors.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text)
    } else if (method === 'Runtime.consoleAPICalled' && params.type === 'error') {
      this.errors.push(params.args.map((each: { value?: unknown }) => String(each.value)).join(' '))
    } else if (method === 'Log.entryAdded' && params.entry.level === 'error') {
      this.errors.push(`${params.entry.text} ${params.entry.url ?? ''}`)
    }
  }
}
