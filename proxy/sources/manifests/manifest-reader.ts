/** Reads manifests: small ones here, large ones in a thread of their own, which lasts until there is nothing more to read. */
import { hash } from 'node:crypto'
import { Worker } from 'node:worker_threads'
import { threadModule } from '../../model/program/package-files.ts'
import { type DecodedObject, decodeManifest } from './decode-manifest.ts'
import type { Answer, Request } from './manifest-thread.ts'
import { SyntaxFault } from './raw-object.ts'
import { readText } from './read-text.ts'

/** A file that has been read, and what it says. */
export interface ManifestReading {
  /** SHA-256 of its text. */
  readonly sum: string
  readonly isBlank: boolean
  /** The next objects, of which there may be none yet; undefined at the end. Rejects with SyntaxFault. */
  next(): Promise<readonly DecodedObject[] | undefined>
}

/**
 * A longer file is read in a thread. Parsing takes the main thread for some 10 ms for each 100 KiB of one object, and a thread costs some
 * 15 MiB and 50 ms while it lasts.
 */
export const maxHereBytes = 128 << 10

/** Enough for 32 MiB of small objects. A thread that needs more is ended, and the process goes on. */
const resourceLimits = { maxOldGenerationSizeMb: 512, maxYoungGenerationSizeMb: 32 }

export class ManifestReader {
  readonly #workloads: boolean
  #thread: ManifestThread | undefined

  /** `workloads`: with labels of Pods, and policies. */
  constructor(workloads = false) {
    this.#workloads = workloads
  }

  /** Whether there is a thread. */
  get hasThread(): boolean {
    return this.#thread !== undefined
  }

  /** One file at a time. Rejects with the error of the system, or with the reason why it is no text. */
  async open(path: string): Promise<ManifestReading> {
    const text = await readText(path, maxHereBytes)
    if (text !== undefined) return openText(text, this.#workloads)
    if (!this.#thread || this.#thread.isOver) this.#thread = new ManifestThread()
    return this.#thread.open(path, this.#workloads)
  }

  /** Ends the thread, if there is one; a file that is being read fails. */
  async release(): Promise<void> {
    const thread = this.#thread
    this.#thread = undefined
    await thread?.end()
  }
}

function openText(text: string, workloads: boolean): ManifestReading {
  const objects = decodeManifest(text, workloads)
  return {
    sum: hash('sha256', text),
    isBlank: text.trim() === '',
    next: async () => {
      const { value, done } = objects.next()
      if (done) return undefined
      return value ? [value] : []
    },
  }
}

class ManifestThread {
  readonly #worker: Worker
  #waiting: PromiseWithResolvers<Answer> | undefined
  #fault: Error | undefined

  constructor() {
    const module = threadModule('proxy/sources/manifests/manifest-thread')
    this.#worker = new Worker(module, { eval: typeof module === 'string', execArgv: [], resourceLimits })
    this.#worker.on('message', (answer: Answer) => {
      const waiting = this.#waiting
      this.#waiting = undefined
      waiting?.resolve(answer)
    })
    this.#worker.on('error', error => this.#ended(error))
    this.#worker.on('exit', () => this.#ended(new Error('reading was ended')))
  }

  get isOver(): boolean {
    return this.#fault !== undefined
  }

  async open(path: string, workloads: boolean): Promise<ManifestReading> {
    const { sum = '', isBlank = false } = await this.#ask({ path, workloads })
    return { sum, isBlank, next: async () => (await this.#ask({})).objects }
  }

  async end(): Promise<void> {
    await this.#worker.terminate()
  }

  async #ask(request: Request): Promise<Exclude<Answer, { fault: unknown }>> {
    if (this.#fault) throw this.#fault
    this.#waiting = Promise.withResolvers()
    this.#worker.postMessage(request)
    const answer = await this.#waiting.promise
    if (!('fault' in answer)) return answer
    const { message, line, code } = answer.fault
    throw line === undefined ? Object.assign(new Error(message), { code }) : new SyntaxFault(message, line)
  }

  #ended(error: NodeJS.ErrnoException): void {
    const isLarge = error.code === 'ERR_WORKER_OUT_OF_MEMORY'
    const most = resourceLimits.maxOldGenerationSizeMb
    this.#fault ??= isLarge ? new Error(`it takes more than ${most} MiB of memory to read; split it`) : error
    this.#waiting?.reject(this.#fault)
    this.#waiting = undefined
  }
}
