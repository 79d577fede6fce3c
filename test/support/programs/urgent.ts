/** A peer that sends urgent bytes (RFC 6093), which Node cannot: `urgent.c`, built when it is first asked for. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { program } from './program.ts'

/** No other byte of {@link urgentText} has this value. */
export const urgentByte = 0xff

export interface Urgent {
  /** How many bytes it sends, the urgent ones not counted. */
  readonly bytes: number
  /** An urgent one follows after so many. */
  readonly every: number
  /** `after-fin`: it begins when its peer has ended; `hang-up`: it closes its socket and reads nothing. */
  readonly when: 'at-once' | 'after-fin' | 'hang-up'
}

/** Path of the program; undefined where there is no C compiler. */
export function buildUrgent(t: Test): string | undefined {
  return program(t, fileURLToPath(new URL('urgent.c', import.meta.url)))
}

/** Connects to the address. */
export function urgentClient(t: Test, program: string, to: { ip: string; port: number }, urgent: Urgent): UrgentPeer {
  return new UrgentPeer(t, program, ['connect', to.ip, String(to.port)], urgent)
}

/** Listens on a port of 127.0.0.1 and takes one connection. */
export async function urgentBackend(
  t: Test,
  program: string,
  urgent: Urgent,
): Promise<{ peer: UrgentPeer; port: number }> {
  const peer = new UrgentPeer(t, program, ['listen', '127.0.0.1', '0'], urgent)
  return { peer, port: Number(await peer.line()) }
}

export class UrgentPeer {
  readonly #child: ChildProcess
  readonly #chunks: Buffer[] = []
  /** All that it has printed is read; its exit may come before. */
  readonly #closed: Promise<unknown>

  constructor(t: Test, program: string, where: readonly string[], { bytes, every, when }: Urgent) {
    this.#child = spawn(program, [...where, String(bytes), String(every), when], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    this.#child.stdout?.on('data', chunk => this.#chunks.push(chunk))
    this.#closed = once(this.#child, 'close')
    t.teardown(() => this.#child.kill('SIGKILL'))
  }

  async line(): Promise<string> {
    while (!Buffer.concat(this.#chunks).includes('\n')) await once(this.#child.stdout as NodeJS.ReadableStream, 'data')
    const all = Buffer.concat(this.#chunks)
    const end = all.indexOf('\n')
    this.#chunks.splice(0, Number.POSITIVE_INFINITY, all.subarray(end + 1))
    return all.toString('latin1', 0, end)
  }

  /** What it has received, once it has ended. */
  async received(): Promise<Buffer> {
    await this.#closed
    return Buffer.concat(this.#chunks)
  }
}

/** All that a peer sends, the urgent bytes in their places. */
export function urgentText({ bytes, every }: Urgent): Buffer {
  const text: number[] = []
  let state = 1
  for (let i = 0; i < bytes; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    text.push(state >>> 25)
    if ((i + 1) % every === 0 || i + 1 === bytes) text.push(urgentByte)
  }
  return Buffer.from(text)
}
