/** Waiting: until Ctrl-C, for a while, and how long an option says. */
import { InvalidArgumentError } from 'commander'
import { duration } from '../../config/fields.ts'
import type { Io } from './io.ts'

export interface Interruption {
  /** Aborted by SIGINT or SIGTERM. */
  readonly signal: AbortSignal
  /** Signals end the process again. */
  dispose(): void
}

export function untilInterrupted({ process }: Io): Interruption {
  const controller = new AbortController()
  const stop = () => controller.abort()
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, stop)
  const dispose = () => {
    for (const signal of ['SIGINT', 'SIGTERM']) process.off(signal, stop)
  }
  return { signal: controller.signal, dispose }
}

/** Resolves with true after `ms`, with false at once when interrupted. */
export function pause(ms: number, { signal }: Interruption): Promise<boolean> {
  return new Promise(resolve => {
    if (signal.aborted) return resolve(false)
    const timer = setTimeout(() => end(true), ms)
    const stop = () => end(false)
    signal.addEventListener('abort', stop)
    const end = (passed: boolean) => {
      clearTimeout(timer)
      signal.removeEventListener('abort', stop)
      resolve(passed)
    }
  })
}

/** The value of an option such as `--timeout 2m`. */
export function milliseconds(text: string): number {
  let fault = ''
  const ms = duration('').parse(text, [], ({ message }) => {
    fault = message
  })
  if (ms === undefined) throw new InvalidArgumentError(fault)
  return ms
}
