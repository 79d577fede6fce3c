/** The streams, environment and signals that a command uses, and colours for terminals. */
import { spawn } from 'node:child_process'
import type { EventEmitter } from 'node:events'
import { stripVTControlCharacters, styleText } from 'node:util'
import { ownCommand } from '../../model/program/package-files.ts'
import { type Clock, systemClock } from '../../model/time/clock.ts'

/** The parts of the process that a command uses; tests pass their own. */
export interface Io {
  readonly stdout: Output
  readonly stderr: Output
  readonly env: Readonly<Record<string, string | undefined>>
  readonly clock: Clock
  /** Emits signals by name, `uncaughtException` and `unhandledRejection`. */
  readonly process: Pick<EventEmitter, 'on' | 'off'>
  /** Starts this program once more, with the same arguments; calls `failed` when it cannot be started, or has ended. */
  respawn?(failed: (why: string) => void): void
}

export interface Output {
  readonly isTTY?: boolean
  /** Of a terminal. */
  readonly columns?: number
  readonly rows?: number
  write(text: string): unknown
}

export const processIo: Io = {
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  clock: systemClock,
  process,
  respawn,
}

/** How often is looked whether the new process is still there. */
const lookMs = 250

/**
 * The new process is started by a shell that ends at once, and so is nobody's child but the service manager's: systemd waits for the end
 * of a main process (`MAINPID=`) that is its own child, and kills any other one without waiting.
 */
function respawn(failed: (why: string) => void): void {
  const stdio = ['inherit', 'pipe', 'inherit', 1] as const
  const shell = spawn('/bin/sh', ['-c', '"$@" >&3 3>&- & echo $!', 'sh', ...ownCommand(process.argv.slice(2))], {
    stdio: [...stdio],
  })
  shell.unref()
  shell.on('error', error => failed(error.message))
  shell.stdout?.once('data', text => {
    const pid = Number(text)
    const stop = systemClock.every(lookMs, () => {
      if (isAlive(pid)) return
      stop()
      failed(`the new process (${pid}) has ended; its log says why`)
    })
  })
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

export type Paint = (style: 'good' | 'warn' | 'bad' | 'soft' | 'strong', text: string) => string

const styles = { good: 'green', warn: 'yellow', bad: 'red', soft: 'dim', strong: 'bold' } as const

/** Colours are for terminals only, and not with NO_COLOR (https://no-color.org). */
export function hasColours(output: Output, env: Io['env']): boolean {
  return Boolean(output.isTTY) && !env.NO_COLOR && env.TERM !== 'dumb'
}

export function paintFor(output: Output, env: Io['env']): Paint {
  const coloured = hasColours(output, env)
  return (style, text) => (coloured ? styleText(styles[style], text, { validateStream: false }) : text)
}

/**
 * Replaces what is not shown as it is: control characters could move the cursor of a terminal or change its title, format
 * characters (bidirectional overrides and isolates, zero-width ones) and line separators could make text read as another.
 */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is removed
  return stripVTControlCharacters(text).replace(/[\x00-\x09\x0b-\x1f\x7f-\x9f]|[\p{Cf}\p{Zl}\p{Zp}]/gu, ' ')
}

/** A line of JSON whose strings have such characters escaped: the same value, and harmless where somebody prints it. */
export function printableJson(line: string): string {
  return line.replace(/[\x7f-\x9f]|[\p{Cf}\p{Zl}\p{Zp}]/gu, found =>
    found
      .split('')
      .map(unit => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .join(''),
  )
}
