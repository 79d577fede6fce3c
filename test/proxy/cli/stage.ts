/** Runs command lines in this process, and returns exit code and output. */
import { EventEmitter } from 'node:events'
import type { Test } from 'tap'
import { type Admin, createAdmin } from '../../../proxy/admin/server.ts'
import type { Views } from '../../../proxy/admin/views.ts'
import { main } from '../../../proxy/cli/main.ts'
import type { Io } from '../../../proxy/cli/terminal/io.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { fixedViews, now } from '../admin/fixture.ts'

export interface Said {
  readonly code: number
  readonly out: string
  readonly err: string
}

export interface Stage {
  readonly admin: string
  /** Splits the line at spaces. */
  run(line: string, given?: Given): Promise<Said>
}

/** An admin server with fixed views, and commands that find it through STARLANE_ADMIN. */
export async function openStage(t: Test, given: Partial<Views> = {}): Promise<Stage> {
  const admin: Admin = createAdmin({
    listen: { address: '127.0.0.1', port: 0 },
    views: fixedViews(given),
    log: silentLog,
    clock: systemClock,
  })
  await admin.start()
  t.teardown(() => admin.close())
  const address = admin.address ?? ''
  return {
    admin: address,
    run: (line, { env = {}, ...given } = {}) =>
      runLine(line.split(' '), { env: { STARLANE_ADMIN: address, ...env }, ...given }),
  }
}

interface Given {
  readonly env?: Record<string, string>
  readonly isTTY?: boolean
  readonly columns?: number
  /** Wall-clock milliseconds; by default a fixed time. */
  readonly wall?: () => number
}

export async function runLine(argv: readonly string[], given: Given = {}): Promise<Said> {
  return startLine(argv, given).ended
}

/** A command that goes on: what it has said so far, and signals for it. */
export function startLine(argv: readonly string[], given: Given = {}) {
  const said = { out: '', err: '' }
  const write = (to: 'out' | 'err') => ({
    isTTY: given.isTTY ?? false,
    ...(given.columns === undefined ? {} : { columns: given.columns }),
    write: (text: string) => {
      said[to] += text
    },
  })
  const io: Io = {
    stdout: write('out'),
    stderr: write('err'),
    env: given.env ?? {},
    clock: { ...systemClock, wall: given.wall ?? (() => now) },
    process: new EventEmitter(),
  }
  const ended: Promise<Said> = main(argv, io).then(code => ({ code, ...said }))
  return { said, ended, signal: (name: string) => (io.process as EventEmitter).emit(name, name) }
}
