/** Runs CoreDNS as a reference, from the PATH or STARLANE_COREDNS. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { freePort } from './backend.ts'
import { eventually } from './eventually.ts'

export const coredns = process.env.STARLANE_COREDNS ?? 'coredns'

/** Why there is no CoreDNS to compare with; false when there is one. */
export function withoutCoredns(): string | false {
  return spawnSync(coredns, ['-version']).status === 0
    ? false
    : 'coredns is neither on the PATH nor at STARLANE_COREDNS'
}

/** Starts it with one server block of these `plugins`. Resolves with its port once it is ready. */
export async function startCoredns(t: Test, plugins: string): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'starlane-coredns-'))
  const [port, ready] = [await freePort('127.0.0.1'), await freePort('127.0.0.1')]
  const file = join(folder, 'Corefile')
  writeFileSync(file, `.:${port} {\n bind 127.0.0.1\n ready 127.0.0.1:${ready}\n${plugins}\n}\n`)
  // The API server of the tests does not support streaming lists (WatchList).
  const env = { ...process.env, KUBE_FEATURE_WatchListClient: 'false' }
  const child = spawn(coredns, ['-conf', file], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  const output = outputOf(child)
  t.teardown(async () => {
    await ended(child)
    rmSync(folder, { recursive: true })
  })
  await eventually(async () => {
    const { status } = await fetch(`http://127.0.0.1:${ready}/ready`)
    if (status !== 200 || child.exitCode !== null) throw new Error(`coredns is not ready: ${output()}`)
  }, 20_000)
  return port
}

function outputOf(child: ChildProcess): () => string {
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', bytes => (text = `${text}${bytes}`.slice(-4000)))
  return () => text
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = new Promise(resolve => child.once('exit', resolve))
  child.kill('SIGKILL')
  await exit
}
