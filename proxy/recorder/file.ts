/**
 * Writes flows that have ended, and questions, to a file: one {@link FlowEvent} to a line. At its size the file becomes FILE.1, the
 * one before FILE.2, and so on.
 */
import { mkdir, open, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { messageOf, type Problem } from '../model/error.ts'
import type { FlowEvent } from '../model/flow-record.ts'
import type { Log } from '../model/log.ts'

export interface FlowFileOptions {
  readonly path: string
  readonly maxBytes: number
  /** How many full files are kept besides the current one. */
  readonly keep: number
}

/** Waiting for a slow disk; what comes beyond is lost, and counted in the file. */
const maxWaitingBytes = 8 << 20

export class FlowFile {
  readonly #options: FlowFileOptions
  readonly #log: Log
  #waiting: string[] = []
  #waitingBytes = 0
  #lost = 0
  #fault: string | undefined
  #writing: Promise<void> | undefined

  constructor(options: FlowFileOptions, log: Log) {
    this.#options = options
    this.#log = log
  }

  /** Takes them at once and writes them in the background. */
  write(events: readonly FlowEvent[]): void {
    for (const event of events) {
      if ('flow' in event && event.flow.starlane.state === 'open') continue
      if (this.#waitingBytes > maxWaitingBytes) this.#lost++
      else this.#add(event)
    }
    if (this.#waiting.length > 0) this.#writing ??= this.#run()
  }

  problems(): Problem[] {
    const { path } = this.#options
    if (this.#fault === undefined) return []
    const message = `flows cannot be written: ${this.#fault}; correct it, or set recorder.file.path to another file`
    return [{ code: 'RECORDER_FILE', where: path, message }]
  }

  /** Resolves when all has been written, or could not be. */
  async close(): Promise<void> {
    await this.#writing
  }

  #add(event: FlowEvent): void {
    const line = `${JSON.stringify(event)}\n`
    this.#waiting.push(line)
    this.#waitingBytes += line.length
  }

  async #run(): Promise<void> {
    try {
      while (this.#waiting.length > 0) {
        const count = this.#waiting.length
        const text = this.#waiting.join('')
        this.#waiting = []
        this.#waitingBytes = 0
        await this.#append(text, count)
      }
    } finally {
      this.#writing = undefined
    }
  }

  /** The file is opened for each batch, so that one that was moved or removed is made anew. */
  async #append(text: string, count: number): Promise<void> {
    const { path, maxBytes } = this.#options
    try {
      await mkdir(dirname(path), { recursive: true })
      const size = await stat(path).then(
        found => found.size,
        () => 0,
      )
      if (size > 0 && size + Buffer.byteLength(text) > maxBytes) await this.#rotate()
      // 0640: it says who talks to whom.
      const file = await open(path, 'a', 0o640)
      try {
        await file.appendFile(this.#lostLine() + text)
      } finally {
        await file.close()
      }
      if (this.#fault !== undefined) this.#log.info('recorder.file.writing', { path })
      this.#fault = undefined
      this.#lost = 0
    } catch (error) {
      this.#lost += count
      if (this.#fault === undefined) this.#log.warn('recorder.file.failed', { path, why: messageOf(error) })
      this.#fault = messageOf(error)
    }
  }

  #lostLine(): string {
    if (this.#lost === 0) return ''
    const event: FlowEvent = {
      lost_events: { source: 'OBSERVER_EVENTS_QUEUE', num_events_lost: this.#lost },
      node_name: '',
      time: new Date().toISOString(),
    }
    return `${JSON.stringify(event)}\n`
  }

  async #rotate(): Promise<void> {
    const { path, keep } = this.#options
    if (keep === 0) return rm(path, { force: true })
    for (let n = keep - 1; n >= 0; n--) {
      const from = n === 0 ? path : `${path}.${n}`
      await rename(from, `${path}.${n + 1}`).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error
      })
    }
  }
}
