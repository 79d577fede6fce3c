// Runs one test file in a process of its own and returns its outcome.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { Tally } from './tally.ts'

export interface Outcome {
  readonly file: string
  readonly tally: Tally
  readonly stderr: string
  readonly seconds: number
}

// tap itself ends a file that times out and names the test that hung; the kill is for a blocked event loop.
const graceMs = 2000
// How long the output may stay open after exit, which happens when a process is left behind.
const leftoverMs = 1000

export async function runFile(file: string, options: { timeoutMs: number; signal: AbortSignal }): Promise<Outcome> {
  const { timeoutMs, signal } = options
  const started = performance.now()
  const tally = new Tally()
  let stderr = ''
  let timedOut = false
  let leftover = false

  // In a process group of its own, so that processes left behind are killed with it.
  const child = spawn(process.execPath, [file], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TAP_TIMEOUT: String(timeoutMs / 1000) },
  })
  child.stdout.setEncoding('utf8').on('data', (text: string) => tally.write(text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })

  const stop = () => killGroup(child)
  signal.addEventListener('abort', stop)
  const deadline = setTimeout(() => {
    timedOut = true
    stop()
  }, timeoutMs + graceMs)
  let hanging: NodeJS.Timeout | undefined
  child.once('exit', () => {
    hanging = setTimeout(() => {
      leftover = true
      stop()
    }, leftoverMs)
  })

  const [code, killedBy] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
  clearTimeout(deadline)
  clearTimeout(hanging)
  signal.removeEventListener('abort', stop)
  stop()

  tally.end(died())
  if (leftover) tally.fail('left a process behind that holds its output')
  return { file, tally, stderr, seconds: (performance.now() - started) / 1000 }

  function died(): string | undefined {
    if (timedOut) return reportedTimeout(tally) ? undefined : `timed out after ${timeoutMs / 1000} s`
    if (killedBy !== null) return `killed by ${killedBy}`
    // tap itself exits with 1 when a test failed.
    return code === 0 || tally.failures.length > 0 ? undefined : `exited with ${code}`
  }
}

const reportedTimeout = (tally: Tally): boolean => tally.failures.some(({ name }) => name.endsWith('timeout!'))

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return
  try {
    process.kill(-child.pid, 'SIGKILL')
  } catch {
    // The group has exited already.
  }
}
