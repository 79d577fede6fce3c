/** Looks into the JavaScript heap of a process that was started with `--inspect`, by the Chrome DevTools protocol. */
import { once } from 'node:events'
import type { Starlane } from '../faults/stage.ts'

/** Objects of a snapshot, by their class: how many, and their bytes without what they refer to. */
export type Classes = ReadonlyMap<string, { readonly count: number; readonly bytes: number }>

interface Snapshot {
  readonly snapshot: {
    readonly meta: { readonly node_fields: readonly string[]; readonly node_types: readonly [readonly string[]] }
  }
  readonly nodes: readonly number[]
  readonly strings: readonly string[]
}

export class Heap {
  readonly #socket: WebSocket
  readonly #waiting = new Map<
    number,
    { resolve: (result: Record<string, unknown>) => void; reject: (error: Error) => void }
  >()
  #chunks: string[] = []
  #id = 0

  private constructor(socket: WebSocket) {
    this.#socket = socket
    socket.addEventListener('message', ({ data }) => this.#heard(JSON.parse(String(data))))
  }

  /** Node prints where it listens on standard error. */
  static async of(starlane: Starlane): Promise<Heap> {
    const texts = starlane.lines.map(({ text }) => /Debugger listening on (ws:\S+)/.exec(String(text))?.[1])
    const socket = new WebSocket(texts.find(Boolean) ?? 'ws://not-inspected.invalid')
    await once(socket, 'open')
    return new Heap(socket)
  }

  /** What is in use after a collection, in MiB. */
  async usedMebibytes(): Promise<number> {
    await this.#call('HeapProfiler.collectGarbage')
    const { usedSize } = await this.#call('Runtime.getHeapUsage')
    return Number(usedSize) / 2 ** 20
  }

  /** Timers that are waiting. */
  async timers(): Promise<number> {
    const expression = 'const timer = setTimeout(() => {}, 0); clearTimeout(timer); Object.getPrototypeOf(timer)'
    const { result } = await this.#call('Runtime.evaluate', {
      expression: `(() => { ${expression.replace('; Object', '; return Object')} })()`,
    })
    const prototypeObjectId = (result as { objectId: string }).objectId
    const { objects } = await this.#call('Runtime.queryObjects', { prototypeObjectId, objectGroup: 'timers' })
    const { result: count } = await this.#call('Runtime.callFunctionOn', {
      objectId: (objects as { objectId: string }).objectId,
      functionDeclaration:
        'function () { return this.filter(timer => timer._idleTimeout > 0 && !timer._destroyed).length }',
      returnByValue: true,
    })
    await this.#call('Runtime.releaseObjectGroup', { objectGroup: 'timers' })
    return Number((count as { value: number }).value)
  }

  async snapshot(): Promise<Classes> {
    this.#chunks = []
    await this.#call('HeapProfiler.collectGarbage')
    await this.#call('HeapProfiler.takeHeapSnapshot', { reportProgress: false })
    const snapshot = JSON.parse(this.#chunks.join('')) as Snapshot
    this.#chunks = []
    return classesOf(snapshot)
  }

  close(): void {
    this.#socket.close()
  }

  #call(method: string, params: object = {}): Promise<Record<string, unknown>> {
    const id = ++this.#id
    this.#socket.send(JSON.stringify({ id, method, params }))
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }))
  }

  #heard(message: {
    id?: number
    method?: string
    params?: { chunk?: string }
    result?: Record<string, unknown>
    error?: { message: string }
  }): void {
    if (message.method === 'HeapProfiler.addHeapSnapshotChunk') this.#chunks.push(message.params?.chunk ?? '')
    const waiting = this.#waiting.get(message.id ?? 0)
    if (!waiting) return
    this.#waiting.delete(message.id ?? 0)
    if (message.error) waiting.reject(new Error(message.error.message))
    else waiting.resolve(message.result ?? {})
  }
}

function classesOf({ snapshot: { meta }, nodes, strings }: Snapshot): Classes {
  const [types] = meta.node_types
  const [type, name, size] = ['type', 'name', 'self_size'].map(field => meta.node_fields.indexOf(field)) as [
    number,
    number,
    number,
  ]
  const classes = new Map<string, { count: number; bytes: number }>()
  for (let at = 0; at < nodes.length; at += meta.node_fields.length) {
    const kind = types[nodes[at + type] ?? 0] ?? ''
    // Strings and code have no class: they are one each.
    const key = kind === 'object' || kind === 'closure' ? (strings[nodes[at + name] ?? 0] ?? '') : `(${kind})`
    const entry = classes.get(key) ?? { count: 0, bytes: 0 }
    entry.count++
    entry.bytes += nodes[at + size] ?? 0
    classes.set(key, entry)
  }
  return classes
}

/** What has grown most, by bytes, as lines of text. */
export function growthOf(before: Classes, after: Classes, most = 8): string[] {
  const grown = [...after].map(([name, { count, bytes }]) => {
    const was = before.get(name) ?? { count: 0, bytes: 0 }
    return { name, count: count - was.count, bytes: bytes - was.bytes, now: count }
  })
  return grown
    .filter(({ bytes }) => bytes > 0)
    .sort((a, b) => b.bytes - a.bytes)
    .slice(0, most)
    .map(
      ({ name, count, bytes, now }) =>
        `${name || '(anonymous)'}: ${(bytes / 1024).toFixed(0)} KiB more, ${count} more of ${now}`,
    )
}
