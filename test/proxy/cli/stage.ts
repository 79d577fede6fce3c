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
  run(line: string, given?: { env?: Record<string, string>; isTTY?: boolean }): Promise<Said>
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
    run: (line, { env = {}, isTTY = false } = {}) =>
      runLine(line.split(' '), { env: { STARLANE_ADMIN: address, ...env }, isTTY }),
  }
}

export async function runLine(
  argv: readonly string[],
  given: { env?: Record<string, string>; isTTY?: boolean } = {},
): Promise<Said> {
  const said = { out: '', err: '' }
  const write = (to: 'out' | 'err') => ({
    isTTY: given.isTTY ?? false,
    write: (text: string) => {
      said[to] += text
    },
  })
  const io: Io = {
    stdout: write('out'),
    stderr: write('err'),
    env: given.env ?? {},
    clock: { ...systemClock, wall: () => now },
    process: new EventEmitter(),
  }
  const code = await main(argv, io)
  return { code, ...said }
}
